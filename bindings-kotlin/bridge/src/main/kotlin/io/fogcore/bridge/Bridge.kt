/*
 * The bridge app: a phone that is a node of a fog.
 *
 *     java -cp … io.fogcore.bridge.BridgeKt serve  fog.db [seconds]
 *     java -cp … io.fogcore.bridge.BridgeKt submit fog.db [tasks]
 *
 * The first process is the phone: its battery empties and fills again, within seconds rather than
 * hours, and it works only when that is fine. The second one, on the same database, submits tasks
 * and pays for them. Run both at once, in two terminals.
 */
package io.fogcore.bridge

import io.fogcore.AccountId
import io.fogcore.Asset
import io.fogcore.Event
import io.fogcore.Fog
import io.fogcore.FogOptions
import io.fogcore.ManualPowerMonitor
import io.fogcore.NodeId
import io.fogcore.NodeKind
import io.fogcore.PowerRules
import io.fogcore.PowerState
import io.fogcore.Submission
import io.fogcore.node
import io.fogcore.task
import java.security.MessageDigest
import kotlin.system.exitProcess
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull

private val PHONE = NodeId("phone-1")
private val ANN = AccountId("ann")
private val SHOP = AccountId("shop")
private val PRICE = Asset.FOG.amount("0.01")

/** Both processes agree in it: a phone recovers within a second, so that one can watch it. */
private val OPTIONS = FogOptions(
    power = PowerRules(settle = 1.seconds),
    heartbeatEvery = 200.milliseconds,
    idlePoll = 20.milliseconds,
)

public fun main(arguments: Array<String>): Unit = runBlocking {
    val mode = arguments.getOrNull(0)
    val path = arguments.getOrNull(1)
    val number = arguments.getOrNull(2)?.toInt()
    when {
        mode == "serve" && path != null -> serve(path, (number ?: 20).seconds)
        mode == "submit" && path != null -> submit(path, number ?: 50)
        else -> {
            System.err.println("usage: serve|submit DATABASE [seconds|tasks]")
            exitProcess(2)
        }
    }
}

/** The phone: serves while it may, and tells what it earns. */
private suspend fun serve(path: String, time: Duration) {
    Fog.open("sqlite:$path", OPTIONS).use { fog ->
        val phone = node(PHONE.text, NodeKind.PHONE) {
            owner = ANN
            slots = 2u
            rates(perTask = PRICE)
        }
        val power = ManualPowerMonitor(PowerState(battery = 60.0, charging = true))
        fog.serve(phone, power) {
            execute("digest") { job ->
                MessageDigest.getInstance("SHA-256").digest(job.payload)
            }
        }
        coroutineScope {
            val tellEvents = launch { tellEvents(fog) }
            val live = launch { liveADay(power) }
            val tellEarnings = launch { tellEarnings(fog) }
            delay(time)
            listOf(tellEvents, live, tellEarnings).forEach { it.cancel() }
        }
        println("earned in all: ${earned(fog)}")
    }
}

/** A day of a phone, again and again: charged, unplugged, empty, plugged in, full enough. */
private suspend fun liveADay(power: ManualPowerMonitor) {
    while (true) {
        for ((state, time) in listOf(
            PowerState(battery = 60.0, charging = true) to 4.seconds,
            PowerState(battery = 55.0, charging = false) to 2.seconds,
            PowerState(battery = 12.0, charging = true) to 2.seconds,
            PowerState(battery = 40.0, charging = true) to 4.seconds,
        )) {
            power.state = state
            println("battery ${state.battery} %${if (state.charging) ", charging" else ""}")
            delay(time)
        }
    }
}

private suspend fun tellEvents(fog: Fog): Unit = fog.events("console").collect {
    when (val event = it.event) {
        is Event.TaskSucceeded -> println("did ${event.task}, paid ${event.paid.format()}")
        is Event.TaskRetrying -> println("gave ${event.task} back: ${event.reason}")
        else -> {}
    }
}

private suspend fun tellEarnings(fog: Fog) {
    while (true) {
        val why = fog.node(PHONE)?.ineligible?.let { "no work: $it" } ?: "may work"
        println("earned ${earned(fog)}, $why")
        delay(2.seconds)
    }
}

private suspend fun earned(fog: Fog): String =
    (fog.account(ANN)?.available ?: io.fogcore.Amount.ZERO).format()

/** The shop: has digests made, and pays for each. */
private suspend fun submit(path: String, count: Int) {
    Fog.open("sqlite:$path", OPTIONS).use { fog ->
        fog.mint(SHOP, PRICE * count)
        val digest = task("digest") { paidBy(SHOP, atMost = PRICE) }
        val answers = fog.submitAll(
            (1..count).map { Submission(digest, "photo $it".encodeToByteArray()) },
        )
        val tasks = answers.mapNotNull { it.task?.id }
        println("submitted ${tasks.size} tasks")
        val done = withTimeoutOrNull(60.seconds) { tasks.map { fog.await(it) } }
        if (done == null) {
            println("not all were done within a minute; is a phone serving?")
            exitProcess(1)
        }
        val paid = done.fold(io.fogcore.Amount.ZERO) { sum, task -> sum + task.paid }
        println("${done.size} tasks ended, paid ${paid.format()}")
    }
}
