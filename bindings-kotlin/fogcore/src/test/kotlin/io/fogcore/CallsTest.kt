package io.fogcore

import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class CallsTest {
    @Test
    fun `a balancer picks among the nodes, and learns who fails`() = withFog { fog ->
        fog.register(node("good"))
        fog.register(node("bad"))
        fog.balancer(BalancerOptions(strategy = StrategyKind.ROUND_ROBIN)).use { balancer ->
            assertEquals(2, balancer.size)
            val picked = (1..20).map { balancer.pick().use { pick -> pick.node.text } }.toSet()
            assertEquals(setOf("good", "bad"), picked)
            repeat(40) {
                runCatching { balancer.call { check(it.text == "good") { "a bad node" } } }
            }
            val kept = (1..20).map { balancer.call { node -> node.text } }.toSet()
            assertEquals(setOf("good"), kept)
            val held = balancer.pick(PickRequest(stayWith = NodeId("good"), key = "user-1"))
            held.success(3.milliseconds)
            assertFails<FogException.NotFound> { balancer.pick(PickRequest(requestClass = "none")) }
        }
    }

    @Test
    fun `a breaker opens after failures and refuses with the time to wait`() = test {
        Breaker(BreakerOptions(consecutiveFailures = 3u)).use { breaker ->
            repeat(3) { runCatching { breaker.call { error("down") } } }
            assertEquals(BreakerState.OPEN, breaker.state)
            val refused = assertFails<FogException.Unavailable> { breaker.call { } }
            assertTrue(refused.retryAfter!!.inWholeSeconds in 1..70, "${refused.retryAfter}")
            breaker.forceClosed()
            assertEquals("fine", breaker.call { "fine" })
            breaker.release()
            assertEquals(BreakerState.CLOSED, breaker.state)
            assertEquals(0u, breaker.stats.failures)
        }
        assertFails<FogException.InvalidInput> { Breaker(BreakerOptions(failureRate = 7.0)) }
    }

    @Test
    fun `a probe of the app's own decides who is well`() = withFog { fog ->
        fog.register(node("n"))
        val well = AtomicInteger(1)
        val probe = HealthProbe { _, _ -> if (well.get() == 0) error("the probe throws") }
        fog.watch(every = 20.milliseconds, timeout = 10.milliseconds, probe = probe).use { monitor ->
            monitor.add(NodeId("n"))
            while (monitor.health(NodeId("n")) != Health.HEALTHY) delay(2.milliseconds)
            well.set(0)
            while (monitor.health(NodeId("n")) != Health.UNHEALTHY) delay(2.milliseconds)
            assertTrue(monitor.remove(NodeId("n")))
        }
    }

    @Test
    fun `a hook is asked for nodes, and asked again when it throws`() = test {
        val asked = CompletableDeferred<ScaleRequest>()
        val times = AtomicInteger()
        val hook = ScaleHook { request ->
            if (times.incrementAndGet() == 1) error("not yet")
            asked.complete(request)
            ScaleAnswer.Accepted(request.to - request.from)
        }
        val scaling = ScaleOptions(min = 2u, checkEvery = 1_000.milliseconds)
        Fog.open(options = FAST, scaling = scaling, scaleHook = hook).use {
            val request = asked.await()
            assertEquals(0u to 2u, request.from to request.to)
            assertTrue(times.get() >= 2)
        }
    }

    @Test
    fun `peers meet, speak while the other one listens, and come back`() = withFog { fog ->
        fog.register(node("host") { resources = Resources(bandwidthMbps = 1_000u) })
        fog.putZone(ZoneOptions(ZoneId("prontera"), maxPlayers = 10u))
        val session = fog.openSession(NodeId("host"), ZoneId("prontera"))
        assertEquals(SessionStatus.PENDING, session.status)
        val (ann, bob) = PeerId("ann") to PeerId("bob")
        fog.connect(session.id, ann).use { forAnn ->
            val forBob = fog.connect(session.id, bob)
            assertEquals(listOf(ann), (forBob.next() as Delivery.Joined).peers)
            assertTrue(forAnn.next() is Delivery.Joined)
            assertEquals(bob, (forAnn.next() as Delivery.PeerJoined).peer)
            // Ann waits for an answer on the connection that she speaks on.
            val signal = Signal.Offer("v=0")
            assertEquals(Sent.DELIVERED, forAnn.send(bob, signal))
            val offer = forBob.deliveries.first() as Delivery.Signaled
            assertEquals(ann to signal, offer.from to offer.signal)
            val token = forBob.token
            forBob.close()
            fog.reconnect(session.id, bob, token, offer.number.toLong()).use { again ->
                assertEquals(Sent.DELIVERED, again.send(ann, Signal.Answer("v=0")))
                assertEquals(Signal.Answer("v=0"), (forAnn.next() as Delivery.Signaled).signal)
                again.leave()
            }
            assertEquals(bob, (forAnn.next() as Delivery.PeerLeft).peer)
        }
        fog.putMail(session.id, bob, Signal.Offer("v=1"))
        assertEquals(listOf("v=1"), fog.mail(session.id).map { it.offer })
        assertEquals(SessionStatus.ENDED, fog.endSession(session.id, "over").status)
    }
}
