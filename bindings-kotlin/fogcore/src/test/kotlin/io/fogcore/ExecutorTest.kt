package io.fogcore

import java.nio.file.Path
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.delay
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class ExecutorTest {
    private fun once(kind: String) = task(kind) { maxAttempts = 1u }

    @Test
    fun `what an executor throws fails its task and nothing else`() = withFog { fog ->
        fog.serve(node("laptop") { slots = 4u }) {
            execute("shout", SHOUT)
            execute("exception") { throw IllegalStateException("oops") }
            execute("error") { throw StackOverflowError("deep") }
            execute("not-yet") { TODO("some day") }
            execute("own-timeout") { withTimeout(1.milliseconds) { awaitCancellation() } }
            execute("hopeless") { throw ExecutionException.Permanent("bad input") }
            execute("too-large") { ByteArray(2 shl 20) }
        }
        val expected = mapOf(
            "exception" to "oops",
            "error" to "deep",
            "not-yet" to "some day",
            "own-timeout" to "Timed out",
        )
        for ((kind, reason) in expected) {
            val ended = fog.await(fog.submit(once(kind)).id)
            assertEquals(TaskState.DEAD, ended.state, kind)
            assertTrue(ended.failure!!.contains(reason), "$kind: ${ended.failure}")
        }
        for (kind in listOf("hopeless", "too-large")) {
            assertEquals(TaskState.FAILED, fog.await(fog.submit(once(kind)).id).state, kind)
        }
        val after = fog.await(fog.submit(task("shout"), "x".encodeToByteArray()).id)
        assertEquals(TaskState.SUCCEEDED, after.state)
    }

    @Test
    fun `a cancelled task cancels its executor`() = withFog(FAST.copy(lease = 300.milliseconds)) { fog ->
        val began = CompletableDeferred<Unit>()
        val ended = CompletableDeferred<Unit>()
        fog.serve(node("laptop")) {
            execute("endless") {
                began.complete(Unit)
                try {
                    awaitCancellation()
                } finally {
                    ended.complete(Unit)
                }
            }
        }
        val task = fog.submit(task("endless"))
        began.await()
        assertEquals(TaskState.CANCELLED, fog.cancel(task.id).state)
        ended.await()
        assertEquals(TaskState.CANCELLED, fog.await(task.id).state)
    }

    @Test
    fun `a slow executor keeps its lease, and tells how far it is`() =
        withFog(FAST.copy(lease = 100.milliseconds)) { fog ->
            fog.serve(node("laptop"), dispatcher = Dispatchers.IO) {
                execute("slow") { job ->
                    job.log("beginning")
                    job.report(0.5, "half way")
                    delay(400.milliseconds)
                    job.bytesMoved = 10
                    "attempt ${job.attempt}".encodeToByteArray()
                }
            }
            val task = fog.submit(task("slow"))
            while (fog.task(task.id).progress == null) delay(5.milliseconds)
            assertEquals("half way", fog.task(task.id).note)
            val done = fog.await(task.id)
            assertEquals(1u, done.attempts)
            assertEquals("attempt 1", fog.result(task.id)!!.decodeToString())
            assertEquals(listOf("beginning"), fog.log(task.id).map { it.text })
        }

    @Test
    fun `an attempt begins with what the one before it saved`() = withFog { fog ->
        fog.serve(node("laptop")) {
            execute("resumed") { job ->
                val so = job.checkpoint?.decodeToString()
                if (so == null) {
                    job.save("half".encodeToByteArray())
                    error("the first attempt fails")
                }
                "$so, attempt ${job.attempt}".encodeToByteArray()
            }
            execute("child") { job -> job.resultOf(job.parents.single())!! + "!".encodeToByteArray() }
        }
        val request = task("resumed") { retry(initial = 1.milliseconds) }
        val parent = fog.submit(request)
        val child = fog.submit(task("child") { after(parent.id) })
        assertEquals(TaskState.SUCCEEDED, fog.await(child.id).state)
        assertEquals("half, attempt 2!", fog.result(child.id)!!.decodeToString())
    }

    @Test
    fun `closing with work running gives it back`(@TempDir folder: Path) = test {
        val url = "sqlite:${folder.resolve("fog.db")}"
        val running = AtomicInteger()
        val (task, waiting) = Fog.open(url, FAST).use { fog ->
            val began = CompletableDeferred<Unit>()
            fog.serve(node("laptop")) {
                execute("endless") {
                    running.incrementAndGet()
                    began.complete(Unit)
                    try {
                        awaitCancellation()
                    } finally {
                        running.decrementAndGet()
                    }
                }
            }
            val task = fog.submit(task("endless"))
            began.await()
            task to async { runCatching { fog.await(task.id) } }.also { delay(1.milliseconds) }
        }
        assertTrue(waiting.await().exceptionOrNull() is FogException.Unavailable)
        while (running.get() > 0) delay(1.milliseconds)
        Fog.open(url, FAST).use { fog ->
            val found = fog.task(task.id)
            assertEquals(TaskState.QUEUED, found.state)
            assertEquals(0u, found.attempts)
        }
    }

    @Test
    fun `a worker that stops hands its work to another`() = withFog { fog ->
        val first = fog.serve(node("first")) { execute("shout") { awaitCancellation() } }
        val task = fog.submit(task("shout"), "x".encodeToByteArray())
        while (fog.task(task.id).state != TaskState.LEASED) delay(1.milliseconds)
        first.stop()
        first.stop()
        fog.serve(node("second")) { execute("shout", SHOUT) }
        assertEquals(NodeId("second"), fog.await(task.id).doneBy)
    }
}
