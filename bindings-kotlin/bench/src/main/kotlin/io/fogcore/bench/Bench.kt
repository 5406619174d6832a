/*
 * What calls cost from Kotlin. `cargo xtask bench kotlin` runs it and collects its lines.
 *
 * Each figure is the best of several rounds after a warm-up: what the code can do when the machine
 * lets it. Calls over the boundary pay for JNA; the circuit breaker of resilience4j, which is Java
 * all through, stands beside ours to show how much.
 */
package io.fogcore.bench

import io.fogcore.AccountId
import io.fogcore.Amount
import io.fogcore.Breaker
import io.fogcore.Fog
import io.fogcore.FogOptions
import io.fogcore.Submission
import io.fogcore.Transfer
import io.fogcore.TransferAction
import io.fogcore.node
import io.fogcore.task
import io.github.resilience4j.circuitbreaker.CircuitBreaker
import java.nio.file.Files
import java.util.Locale
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.TimeSource
import kotlinx.coroutines.runBlocking

private const val ROUNDS = 5

private fun tell(name: String, value: Double, unit: String) =
    println(String.format(Locale.ROOT, "figure kotlin.%s %.4g %s", name, value, unit).plain())

/** Figures are plain numbers, without exponents. */
private fun String.plain(): String {
    val words = split(' ').toMutableList()
    words[2] = words[2].toBigDecimal().toPlainString()
    return words.joinToString(" ")
}

/** The shortest of several rounds of [count] calls. */
private inline fun best(count: Int, call: (Int) -> Unit): Duration {
    var best = Duration.INFINITE
    repeat(ROUNDS + 1) { round ->
        val begun = TimeSource.Monotonic.markNow()
        repeat(count) { call(it) }
        val time = begun.elapsedNow()
        // The first round warms up.
        if (round > 0 && time < best) best = time
    }
    return best
}

private fun perSecond(count: Int, time: Duration) = count / (time.inWholeNanoseconds / 1e9)

private fun nanos(count: Int, time: Duration) = time.inWholeNanoseconds.toDouble() / count

public fun main(): Unit = runBlocking {
    val options = FogOptions(idlePoll = 5.milliseconds)
    val file = Files.createTempFile("fogcore-bench", ".db")
    try {
        Fog.open("sqlite:$file", options).use { fog ->
            calls(fog)
            pick(fog)
            transfers(fog)
            tasks(fog)
        }
        breakers()
    } finally {
        listOf("", "-wal", "-shm").forEach { Files.deleteIfExists(file.resolveSibling("${file.fileName}$it")) }
    }
}

/** The least that a call over the boundary costs: it asks for a state, and is given an enum. */
private fun calls(fog: Fog) {
    Breaker().use { breaker ->
        val count = 200_000
        tell("ffi_call", nanos(count, best(count) { breaker.state }), "ns")
    }
    val count = 50_000
    tell("ffi_call_with_text", nanos(count, best(count) { fog.now() }), "ns")
}

private suspend fun pick(fog: Fog) {
    repeat(100) { fog.register(node("node-$it")) }
    fog.balancer().use { balancer ->
        val count = 50_000
        val time = best(count) { balancer.pick().success(1.milliseconds) }
        tell("pick", perSecond(count, time), "picks/s")
    }
}

private suspend fun transfers(fog: Fog) {
    val (ann, bob) = AccountId("ann") to AccountId("bob")
    fog.mint(ann, Amount.ofUnits(1_000_000_000))
    fog.openAccount(bob)
    val one = Amount.ofUnits(1)
    val batches = 10
    val time = best(batches) {
        val answers = fog.transferAll(
            List(1_000) { Transfer(fog.newTransferId(), TransferAction.Direct(ann, bob, one)) },
        )
        check(answers.all { it.applied }) { "a transfer was refused" }
    }
    tell("transfer_batch1000", perSecond(batches * 1_000, time), "transfers/s")
}

private suspend fun tasks(fog: Fog) {
    fog.serve(node("laptop") { slots = 64u }) { execute("echo") { it.payload } }
    val payload = ByteArray(100)
    val echo = task("echo")
    val single = 50
    val alone = best(single) { fog.await(fog.submit(echo, payload).id) }
    tell("task_roundtrip", perSecond(single, alone), "tasks/s")
    val batch = 500
    val together = best(1) {
        val answers = fog.submitAll(List(batch) { Submission(echo, payload) })
        answers.forEach { fog.await(it.task!!.id) }
    }
    tell("task_roundtrip_batch500", perSecond(batch, together), "tasks/s")
}

/** A call that succeeds, through a closed breaker. */
private suspend fun breakers() {
    val count = 100_000
    Breaker().use { ours ->
        tell("breaker_call", nanos(count, best(count) { ours.call { } }), "ns")
    }
    val theirs = CircuitBreaker.ofDefaults("bench")
    val call = Runnable { }
    val time = best(count) { theirs.executeRunnable(call) }
    tell("resilience4j_breaker_call", nanos(count, time), "ns")
}
