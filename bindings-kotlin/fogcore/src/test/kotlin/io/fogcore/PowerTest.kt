package io.fogcore

import java.nio.file.Files
import java.nio.file.Path
import kotlin.io.path.createDirectories
import kotlin.io.path.writeText
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class PowerTest {
    private val options = FAST.copy(power = PowerRules(settle = 150.milliseconds))
    private val phone = NodeId("phone")

    private suspend fun Fog.until(reason: Ineligible?) {
        while (node(phone)!!.ineligible != reason) delay(2.milliseconds)
    }

    @Test
    fun `a phone with a low battery gets no work, and gets it again some time after charging`() =
        withFog(options) { fog ->
            val power = ManualPowerMonitor(PowerState(battery = 80.0, charging = true))
            fog.serve(node("phone", NodeKind.PHONE), power) { execute("shout", SHOUT) }
            suspend fun submit() = fog.submit(task("shout"), "x".encodeToByteArray()).id

            assertEquals(TaskState.SUCCEEDED, fog.await(submit()).state)

            power.state = PowerState(battery = 10.0, charging = false)
            fog.until(Ineligible.IDLE)
            val waiting = submit()
            delay(100.milliseconds)
            assertEquals(TaskState.QUEUED, fog.task(waiting).state)

            // Plugged in, but still low.
            power.state = PowerState(battery = 10.0, charging = true)
            fog.until(Ineligible.CHARGING_LOW)
            assertEquals(TaskState.QUEUED, fog.task(waiting).state)

            // Good again, but it has to last.
            power.state = PowerState(battery = 30.0, charging = true)
            fog.until(Ineligible.SETTLING)
            assertEquals(TaskState.QUEUED, fog.task(waiting).state)
            power.state = PowerState(battery = 19.0, charging = true)
            fog.until(Ineligible.CHARGING_LOW)

            power.state = PowerState(battery = 30.0, charging = true)
            fog.until(null)
            assertEquals(TaskState.SUCCEEDED, fog.await(waiting).state)
        }

    @Test
    fun `each reason has its name`() = withFog(options) { fog ->
        val power = ManualPowerMonitor(PowerState(battery = 80.0, charging = true))
        fog.serve(node("phone", NodeKind.PHONE), power) { execute("shout", SHOUT) }
        val good = power.state
        for ((state, reason) in listOf(
            good.copy(temperature = 50.0) to Ineligible.THERMAL_THROTTLE,
            good.copy(metered = true) to Ineligible.NETWORK_METERED,
            good.copy(userActive = true) to Ineligible.USER_ACTIVE,
            good.copy(temperature = 70.0) to Ineligible.COOLING_DOWN,
        )) {
            power.state = state
            fog.until(reason)
        }
    }

    @Test
    fun `the JVM's monitor reads what the system tells`(@TempDir root: Path) = test {
        fun tell(path: String, text: String) {
            val file = root.resolve(path)
            file.parent.createDirectories()
            file.writeText("$text\n")
        }
        val monitor = JvmPowerMonitor(root = root)
        assertEquals(PowerState(charging = true), monitor.read())
        tell("power_supply/AC/type", "Mains")
        tell("power_supply/BAT0/type", "Battery")
        tell("power_supply/BAT0/status", "Discharging")
        tell("power_supply/BAT0/capacity", "42")
        tell("thermal/zone0/temp", "41500")
        tell("thermal/zone1/temp", "nonsense")
        val told = monitor.states.first()
        assertEquals(42.0, told.battery)
        assertEquals(false, told.charging)
        assertEquals(41.5, told.temperature)
        Files.writeString(root.resolve("power_supply/BAT0/capacity"), "unknown")
        assertNull(monitor.read().battery)
    }
}
