package io.fogcore

import java.nio.file.Files
import java.nio.file.Path
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class HandlesTest {
    /**
     * What the process has in memory, in KiB; none where the system does not tell. The tests' JVM has
     * a small heap, all of which it is given at once, so that what grows is not the heap.
     */
    private fun residentKib(): Long? {
        System.gc()
        val status = Path.of("/proc/self/status").takeIf(Files::exists) ?: return null
        val line = Files.readAllLines(status).first { it.startsWith("VmRSS:") }
        return line.filter(Char::isDigit).toLong()
    }

    @Test
    fun `a hundred thousand calls leave nothing behind`() = withFog { fog ->
        fog.mint(ANN, Amount.ofUnits(1_000_000_000))
        fog.openAccount(BOB)
        fog.register(node("n"))
        val breaker = Breaker()
        fog.balancer().use { balancer ->
            suspend fun some(rounds: Int) = repeat(rounds) { round ->
                breaker.call { }
                balancer.call { }
                fog.now()
                if (round % 100 == 0) fog.account(ANN)
                runCatching { parseAmount(Asset.FOG, "no number") }
            }
            some(5_000)
            System.gc()
            val before = residentKib()
            val handles = Fog.liveHandles()
            some(14_500)
            assertEquals(handles, Fog.liveHandles())
            val after = residentKib()
            println("resident: $before KiB before, $after KiB after")
            if (before != null && after != null) {
                // Each round makes seven calls; a leak of 1 KiB for each would be 100 MiB.
                assertTrue(after - before < 40_000, "grew from $before to $after KiB")
            }
        }
        breaker.close()
    }

    @Test
    fun `nothing is held after a fog that was used is closed`() = test {
        val before = Fog.liveHandles()
        repeat(5) {
            Fog.open(options = FAST).use { fog ->
                fog.listen("other") { }.use {
                    fog.serve(node("laptop") { slots = 4u }, ManualPowerMonitor()) { execute("shout", SHOUT) }
                    repeat(20) { fog.await(fog.submit(task("shout")).id) }
                    fog.events().take(1)
                    fog.handle.feed("default").destroy()
                    fog.register(node("n"))
                    fog.events().take(1).toList()
                }
            }
        }
        val held = mapOf<String, () -> Long>(
            "native objects" to { Fog.liveHandles() - before },
            "executors" to { FfiConverterTypeForeignExecutor.handleMap.size.toLong() },
            "listeners" to { FfiConverterTypeForeignListener.handleMap.size.toLong() },
            "suspended calls" to { uniffiContinuationHandleMap.size.toLong() },
            "running executors" to { uniffiForeignFutureHandleCount().toLong() },
        )
        // The library's threads let go of the last ones a moment after the call returned.
        withTimeoutOrNull(5.seconds) { while (held.values.any { it() != 0L }) delay(1.milliseconds) }
        assertEquals(held.mapValues { 0L }, held.mapValues { it.value() })
    }
}
