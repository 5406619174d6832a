package io.fogcore

import kotlin.time.Instant
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext

/**
 * Does the work of a kind of task.
 *
 * Its coroutine is cancelled when the lease is lost, the task is called off, or the fog shuts down.
 * Whatever it throws fails the attempt and nothing else: [ExecutionException.Permanent] for good,
 * everything else until the next attempt.
 */
public fun interface Executor {
    /** Does the job, and gives its result, at most 1 MiB. */
    public suspend fun execute(job: Job): ByteArray
}

/** One attempt at a task, in the hands of an [Executor]. Of no use after that returned. */
public class Job internal constructor(private val record: JobRecord, private val control: JobControl) {
    /** The task. */
    public val task: TaskId get() = record.task

    /** Its kind. */
    public val kind: TaskKind get() = record.kind

    /** What it is asked with. */
    public val payload: ByteArray get() = record.payload

    /** The attempt, from 1. */
    public val attempt: Int get() = record.attempt.toInt()

    /** What an attempt before this one saved. */
    public val checkpoint: ByteArray? get() = record.checkpoint

    /** The tasks that had to end before this one. */
    public val parents: List<TaskId> get() = record.parents

    /** Whether the node is so warm that the job should do less. */
    public val isThrottled: Boolean get() = control.isThrottled()

    /** Whether nobody wants the answer any more: work that blocks should look at it. */
    public val isCancelled: Boolean get() = control.isCancelled()

    /** Until when it should have saved and ended, if its node is wanted for something else. */
    public val stopAsked: Instant? get() = control.stopAsked()

    /** Bytes that were moved, for the price. */
    public var bytesMoved: Long? = null

    /** How good the result is, where results can be better or worse. */
    public var score: Long? = null

    /** Tells how far the work is, 0–1, with a note of up to 256 characters. */
    public fun report(done: Double, note: String = ""): Unit = control.report(done, note)

    /** Writes a line of up to 1,024 bytes into the task's log. */
    public fun log(line: String): Unit = control.log(line)

    /** Saves what the next attempt should begin with, at most 1 MiB. */
    public fun save(checkpoint: ByteArray): Unit = control.save(checkpoint)

    /** What one of the [parents] gave; none if it did not succeed. */
    public suspend fun resultOf(parent: TaskId): ByteArray? = control.resultOf(parent)
}

/** Which executor serves which kind of task. */
@FogDsl
public class ServeBuilder internal constructor() {
    internal val executors = mutableMapOf<TaskKind, Executor>()

    /** Serves tasks of this kind. */
    public fun execute(kind: String, executor: Executor) {
        executors[TaskKind(kind)] = executor
    }
}

/** The executors, as the library calls them. */
internal class Serving(
    private val executors: Map<TaskKind, Executor>,
    private val dispatcher: CoroutineDispatcher,
) : ForeignExecutor {
    override suspend fun execute(job: JobRecord, control: JobControl): Output = control.use {
        try {
            val given = Job(job, control)
            val result = withContext(dispatcher) { executors.getValue(job.kind).execute(given) }
            Output(result, given.bytesMoved?.toULong(), given.score)
        } catch (thrown: ExecutionException) {
            throw thrown
        } catch (thrown: CancellationException) {
            // The library's own, or one that the executor made, such as a timeout of its own.
            currentCoroutineContext().ensureActive()
            throw ExecutionException.Transient("the executor threw $thrown")
        } catch (thrown: Throwable) {
            // Errors as well: nobody else would tell the fog.
            throw ExecutionException.Transient("the executor threw $thrown")
        }
    }
}

/** A node at work in this process. */
public class Worker internal constructor(
    private val handle: WorkerHandle,
    power: PowerMonitor?,
    private val closed: (Worker) -> Unit,
) : AutoCloseable {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    init {
        power?.let { monitor ->
            scope.launch { monitor.states.collect { handle.update(Heartbeat(power = it)) } }
        }
    }

    /** How the node is from now on, for apps without a [PowerMonitor]. */
    public fun update(vitals: Heartbeat): Unit = handle.update(vitals)

    /** Takes no more tasks, lets what runs end in time, gives back the rest, and returns then. */
    public suspend fun stop() {
        if (handle.uniffiIsDestroyed) return
        withContext(NonCancellable) {
            scope.cancel()
            handle.stop()
            handle.destroy()
            closed(this@Worker)
        }
    }

    /** [stop], for those who cannot suspend. It blocks. */
    override fun close(): Unit = runBlocking { stop() }
}
