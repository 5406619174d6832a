package io.fogcore

import java.util.concurrent.CopyOnWriteArrayList
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.async
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class EventsTest {
    private suspend fun Fog.come(numbers: IntRange) = numbers.forEach { register(node("node-$it")) }

    private fun NumberedEvent.node() = (event as Event.NodeRegistered).node.text

    /** The feed exists from the first time that it is asked for. */
    private fun Fog.openFeed(name: String = "default") = handle.feed(name).destroy()

    @Test
    fun `a slow collector holds up nobody, and is told what it missed`() =
        withFog(FAST.copy(eventCapacity = 16u)) { fog ->
            fog.openFeed()
            fog.come(1..100)
            val heard = fog.events(atOnce = 4).onEach { delay(1.milliseconds) }.take(17).toList()
            assertEquals(84uL, heard.first().missed)
            assertEquals((85..100).map { "node-$it" }, heard.drop(1).map { it.node() })
            assertEquals((1uL..17uL).toList(), heard.map { it.number })
        }

    @Test
    fun `what a collector had not heard when it died, the next one hears`() = withFog { fog ->
        fog.openFeed()
        fog.come(1..10)
        val first = mutableListOf<String>()
        runCatching {
            fog.events(atOnce = 10).collect {
                if (first.size == 3) error("the collector dies")
                first += it.node()
            }
        }
        assertEquals(listOf("node-1", "node-2", "node-3"), first)
        val rest = fog.events().take(7).toList().map { it.node() }
        assertEquals((4..10).map { "node-$it" }, rest)
    }

    @Test
    fun `a collector that is cancelled while it waits loses nothing`() = withFog { fog ->
        fog.openFeed()
        repeat(50) { round ->
            val waiting = async { fog.events().first() }
            yield()
            waiting.cancel()
            waiting.join()
            fog.come(round..round)
            val event = fog.events().first()
            assertEquals("node-$round", event.node())
            fog.handle.feed("default").use { it.acknowledge(event.number) }
        }
    }

    @Test
    fun `the flow ends with the fog`() = test {
        val fog = Fog.open(options = FAST)
        fog.openFeed()
        val collecting = async { fog.events().toList() }
        yield()
        fog.shutdown()
        assertTrue(collecting.await().isEmpty())
    }

    @Test
    fun `a listener that throws hears no more, and what it had not heard is kept`() = withFog { fog ->
        val heard = CopyOnWriteArrayList<String>()
        val threw = CompletableDeferred<Unit>()
        val listening = fog.listen("app") { events ->
            if (heard.isNotEmpty()) {
                threw.complete(Unit)
                error("oops")
            }
            heard += events.map { it.node() }
        }
        fog.come(1..1)
        while (heard.isEmpty()) delay(1.milliseconds)
        fog.come(2..3)
        threw.await()
        listening.use { it.stop() }
        assertEquals(listOf("node-1"), heard.toList())
        assertEquals(listOf("node-2", "node-3"), fog.events("app").take(2).toList().map { it.node() })
        assertTrue(fog.forgetFeed("app"))
    }
}
