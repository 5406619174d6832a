package io.fogcore.consumer

import io.fogcore.Fog
import io.fogcore.TaskState
import io.fogcore.node
import io.fogcore.task
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Somebody who has the jar, and nothing else of the project. */
class ConsumerTest {
    @Test
    fun `the jar brings its native library along`() = runBlocking {
        assertNull(System.getProperty("jna.library.path"))
        assertNull(System.getProperty("uniffi.component.fogcore.libraryOverride"))
        val jar = Fog::class.java.protectionDomain.codeSource.location.path
        assertTrue(jar.endsWith("fogcore-0.1.0.jar"), jar)
        Fog.open().use { fog ->
            fog.serve(node("laptop")) { execute("echo") { it.payload } }
            val task = fog.submit(task("echo"), "hello".encodeToByteArray())
            assertEquals(TaskState.SUCCEEDED, fog.await(task.id).state)
            assertEquals("hello", fog.result(task.id)!!.decodeToString())
        }
    }
}
