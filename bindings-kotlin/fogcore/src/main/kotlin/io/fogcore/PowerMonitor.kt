package io.fogcore

import java.nio.file.Files
import java.nio.file.Path
import kotlin.io.path.exists
import kotlin.io.path.isDirectory
import kotlin.io.path.listDirectoryEntries
import kotlin.io.path.readText
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.distinctUntilChanged
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.flowOn

/**
 * Tells how a device is: battery, charging, heat, whether its network is metered, and whether
 * somebody uses it. `ANDROID.md` has one for Android.
 */
public interface PowerMonitor {
    /** The state now, and whenever it changes. The first one comes at once. */
    public val states: Flow<PowerState>
}

/** A monitor that is told: for tests, simulations, and apps that know by themselves. */
public class ManualPowerMonitor(initial: PowerState = PowerState()) : PowerMonitor {
    private val current = MutableStateFlow(initial)

    override val states: Flow<PowerState> = current.asStateFlow()

    /** The state from now on. */
    public var state: PowerState
        get() = current.value
        set(value) {
            current.value = value
        }
}

/**
 * A monitor for the JVM on Linux: it reads battery and heat from `/sys` every so often. What a
 * machine does not have is left out; without a battery it counts as charging.
 */
public class JvmPowerMonitor(
    private val every: Duration = 10.seconds,
    private val root: Path = Path.of("/sys/class"),
) : PowerMonitor {
    override val states: Flow<PowerState> = flow {
        while (true) {
            emit(read())
            delay(every)
        }
    }.distinctUntilChanged().flowOn(Dispatchers.IO)

    /** The state now. */
    public fun read(): PowerState {
        val battery = folders("power_supply").firstOrNull { text(it, "type") == "Battery" }
        val status = battery?.let { text(it, "status") }
        return PowerState(
            battery = battery?.let { text(it, "capacity") }?.toDoubleOrNull()?.coerceIn(0.0, 100.0),
            charging = status == null || status == "Charging" || status == "Full",
            temperature = folders("thermal").mapNotNull { text(it, "temp")?.toDoubleOrNull() }
                .maxOrNull()?.let { (it / 1_000).coerceIn(-100.0, 200.0) },
        )
    }

    private fun folders(kind: String): List<Path> =
        root.resolve(kind).takeIf { it.isDirectory() }?.listDirectoryEntries()?.sorted().orEmpty()

    private fun text(folder: Path, name: String): String? {
        val file = folder.resolve(name)
        // A sensor that is there may still refuse to be read.
        return runCatching { file.takeIf { it.exists() && Files.isReadable(it) }?.readText()?.trim() }
            .getOrNull()
    }
}
