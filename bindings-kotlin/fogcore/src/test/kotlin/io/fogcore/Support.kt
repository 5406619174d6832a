package io.fogcore

import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.fail

/** Everything goes fast, so that tests need not wait for long. */
internal val FAST = FogOptions(
    heartbeatEvery = 20.milliseconds,
    idlePoll = 5.milliseconds,
    maintainEvery = 10.milliseconds,
    progressEvery = 10.milliseconds,
    grace = 200.milliseconds,
)

/** Runs a test that hangs for a minute at most. */
internal fun test(block: suspend CoroutineScope.() -> Unit): Unit =
    runBlocking { withTimeout(60.seconds, block) }

/** Opens a fog in memory for a test, and closes it. */
internal fun withFog(options: FogOptions = FAST, block: suspend CoroutineScope.(Fog) -> Unit): Unit =
    test {
        val fog = Fog.open(options = options)
        try {
            block(fog)
        } finally {
            fog.shutdown()
        }
    }

internal val ANN = AccountId("ann")
internal val BOB = AccountId("bob")

internal suspend inline fun <reified E : Throwable> assertFails(block: suspend () -> Unit): E {
    try {
        block()
    } catch (thrown: Throwable) {
        if (thrown is E) return thrown
        throw thrown
    }
    fail<Unit>("nothing was thrown")
    error("not reached")
}

/** An executor that shouts. */
internal val SHOUT = Executor { it.payload.decodeToString().uppercase().encodeToByteArray() }
