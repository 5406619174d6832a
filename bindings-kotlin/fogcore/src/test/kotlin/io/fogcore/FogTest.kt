package io.fogcore

import java.nio.file.Path
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.minutes
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

class FogTest {
    @Test
    fun `a node comes back as it went`() = withFog { fog ->
        val phone = node("phone-7", NodeKind.PHONE) {
            name = "Ann's phone 📱"
            owner = ANN
            region = "eu"
            slots = 2u
            resources = Resources(cpuCores = 8u, gpus = listOf(Gpu("Adreno", 512uL)))
            label("os", "android")
            address("phone.example", 4433)
            rates(perTask = Amount.ofUnits(5))
            powerBudget("games", 1_500u)
        }
        fog.register(phone)
        val found = fog.node(NodeId("phone-7"))!!
        assertEquals(phone, found.node.copy(maxConnections = null, maxZones = null))
        assertEquals(Liveness.ONLINE, found.liveness)
        assertEquals(listOf(found.node.id), fog.nodes().map { it.node.id })
        assertTrue(fog.removeNode(found.node.id))
        assertNull(fog.node(found.node.id))
    }

    @Test
    fun `a task goes there, and its result and explanation come back`() = withFog { fog ->
        val worker = fog.serve(node("laptop") { owner = BOB; rates(perTask = Asset.FOG.amount("0.01")) }) {
            execute("shout", SHOUT)
        }
        fog.mint(ANN, Asset.FOG.amount("100"))
        val request = task("shout") { paidBy(ANN, atMost = Asset.FOG.amount("0.5")) }
        val done = fog.await(fog.submit(request, "hello".encodeToByteArray()).id)
        assertEquals(TaskState.SUCCEEDED, done.state)
        assertEquals("HELLO", fog.result(done.id)!!.decodeToString())
        assertEquals("0.01 FOG", done.paid.format())
        assertEquals("0.01 FOG", fog.account(BOB)!!.available.format())
        assertTrue(fog.explanation(done.id)!!.text.startsWith("laptop was chosen"))
        assertEquals(NodeId("laptop"), fog.explain(request).chosen)
        assertNull(fog.explain(task("unknown")).chosen)
        assertEquals(mapOf(TaskState.SUCCEEDED to 1L), fog.taskCounts())
        worker.stop()
    }

    @Test
    fun `times and lengths of time cross to the microsecond`() = withFog { fog ->
        val now = fog.now()
        val request = task("later") {
            notBefore = now + 1.hours
            deadline = now + 2.hours
            retainFor = 3.hours
            offlineFor = 5.minutes
        }
        val task = fog.submit(request)
        assertEquals(TaskState.QUEUED, task.state)
        assertTrue(task.submittedAt >= now)
        assertEquals(task, fog.task(task.id))
        assertEquals(listOf(task), fog.tasks(TaskFilter(kind = TaskKind("later"))))
    }

    @Test
    fun `every error has a class of its own that says what to do`() = withFog { fog ->
        val nobody = TaskId("01890a5d-ac96-774b-bcce-b302099a8057")
        assertTrue(assertFails<FogException.NotFound> { fog.task(nobody) }.reason.contains(nobody.text))
        val blank = assertFails<FogException.InvalidInput> { fog.register(node("two words")) }
        assertEquals("node id", blank.field)
        val many = assertFails<FogException.InvalidInput> { fog.register(node("n") { region = "x".repeat(65) }) }
        assertEquals("region", many.field)
        val id = assertFails<FogException.InvalidInput> { fog.task(TaskId("nonsense")) }
        assertEquals("task id", id.field)
        assertFails<FogException.InvalidInput> { Asset.FOG.amount("2.5.0") }
        assertFails<FogException.InvalidInput> { Fog.open("carrier-pigeon:") }
        assertFails<FogException.InvalidInput> { fog.nodes(limit = 0) }
        val key = IdempotencyKey("mine")
        fog.submit(task("a") { idempotencyKey = key })
        assertFails<FogException.Conflict> { fog.submit(task("b") { idempotencyKey = key }) }
        fog.openAccount(BOB)
        val broke = task("a") { paidBy(BOB, Amount.ofUnits(1)) }
        assertFails<FogException.Exhausted> { fog.submit(broke) }
        assertFails<FogException.Unavailable> { fog.balancer().use { it.pick() } }
    }

    @Test
    fun `transfers are made once, and each of a batch has its answer`() = withFog { fog ->
        fog.mint(ANN, Asset.FOG.amount("10"))
        fog.openAccount(BOB)
        val first = fog.transfer(ANN, BOB, Asset.FOG.amount("4"))
        assertTrue(first.applied)
        val again = fog.transfer(ANN, BOB, Asset.FOG.amount("4"), first.transfer)
        assertTrue(again.applied && again.repeated)
        val refused = fog.transfer(ANN, BOB, Asset.FOG.amount("40"))
        assertEquals(ErrorKind.EXHAUSTED, refused.refusal!!.kind)
        val stolen = Transfer(fog.newTransferId(), TransferAction.Direct(AccountId("fog:mint"), BOB, Amount.ofUnits(1)))
        assertEquals(ErrorKind.DENIED, fog.transferAll(listOf(stolen)).single().refusal!!.kind)

        val hold = Transfer(fog.newTransferId(), TransferAction.Hold(ANN, BOB, Asset.FOG.amount("3")))
        assertEquals(HoldState.PENDING, fog.transferAll(listOf(hold)).single().hold)
        assertEquals("3 FOG", fog.account(ANN)!!.available.format())
        val post = Transfer(fog.newTransferId(), TransferAction.Post(hold.id, Asset.FOG.amount("1")))
        assertTrue(fog.transferAll(listOf(post)).single().applied)
        assertEquals(HoldState.POSTED, fog.transfer(hold.id)!!.hold)
        assertEquals("5 FOG", fog.account(BOB)!!.available.format())
        val sums = fog.trialBalance().single { it.asset == Asset.FOG }
        assertEquals(sums.debitsPosted, sums.creditsPosted)
    }

    @Test
    fun `two hundred calls at once are all answered`() = withFog { fog ->
        fog.serve(node("laptop") { slots = 64u }) { execute("shout", SHOUT) }
        val results = (1..200).map { number ->
            async {
                val task = fog.submit(task("shout"), "call $number".encodeToByteArray())
                fog.await(task.id)
                fog.result(task.id)!!.decodeToString()
            }
        }.awaitAll()
        assertEquals((1..200).map { "CALL $it" }, results)
    }

    @Test
    fun `a submission whose caller gave up is there all the same`(@TempDir folder: Path) = test {
        val fog = Fog.open("sqlite:${folder.resolve("fog.db")}", FAST)
        val callers = (1..50).map { number ->
            launch { fog.submit(task("later") { idempotencyKey = IdempotencyKey("call-$number") }) }
        }
        // All of them have begun, and some are half way.
        yield()
        callers.forEach { it.cancel() }
        callers.forEach { it.join() }
        fog.shutdown()
        Fog.open("sqlite:${folder.resolve("fog.db")}", FAST).use { again ->
            val there = again.tasks()
            // Each is there as a whole: it can be submitted again, and is found.
            (1..50).forEach { again.submit(task("later") { idempotencyKey = IdempotencyKey("call-$it") }) }
            assertEquals(50, again.tasks().size)
            assertTrue(again.tasks().map { it.id }.containsAll(there.map { it.id }))
        }
    }

    @Test
    fun `a fog that starts again knows what it knew`(@TempDir folder: Path) = test {
        val url = "sqlite:${folder.resolve("fog.db")}"
        val task = Fog.open(url, FAST).use { fog ->
            fog.mint(ANN, Asset.FOG.amount("10"))
            fog.register(node("phone"))
            fog.submit(task("shout") { paidBy(ANN, Asset.FOG.amount("4")) }, "hi".encodeToByteArray())
        }
        Fog.open(url, FAST).use { fog ->
            assertEquals("6 FOG", fog.account(ANN)!!.available.format())
            assertEquals(TaskState.QUEUED, fog.task(task.id).state)
            fog.serve(node("phone")) { execute("shout", SHOUT) }
            assertEquals(TaskState.SUCCEEDED, fog.await(task.id).state)
            assertEquals("HI", fog.result(task.id)!!.decodeToString())
            assertEquals("10 FOG", fog.account(ANN)!!.available.format())
        }
    }

    @Test
    fun `a closed fog says so, and closing it again does nothing`() = test {
        val fog = Fog.open(options = FAST)
        fog.shutdown()
        fog.shutdown()
        fog.close()
        assertTrue(fog.isShutDown)
    }
}
