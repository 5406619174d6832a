package io.fogcore

import kotlin.coroutines.cancellation.CancellationException
import kotlin.time.Duration
import kotlin.time.TimeSource

/** Picks nodes of a fog, and learns from how requests went. */
public class Balancer internal constructor(private val handle: BalancerHandle) : AutoCloseable {
    /** How many nodes it knows. */
    public val size: Int get() = handle.size().toInt()

    /**
     * Picks a node. Tell the pick how the request went, or close it to give the request up.
     *
     * @throws FogException.Unavailable if no node takes the request
     */
    public fun pick(request: PickRequest = PickRequest()): Pick = Pick(handle.pick(request))

    /** Picks a node, sends it a request, and tells the balancer how that went. */
    public suspend fun <T> call(
        request: PickRequest = PickRequest(),
        block: suspend (NodeId) -> T,
    ): T {
        val pick = pick(request)
        val begun = TimeSource.Monotonic.markNow()
        try {
            return block(pick.node).also { pick.success(begun.elapsedNow()) }
        } catch (given: CancellationException) {
            pick.close()
            throw given
        } catch (thrown: Throwable) {
            pick.failure(CallFailure.Error, begun.elapsedNow())
            throw thrown
        }
    }

    override fun close(): Unit = handle.destroy()
}

/** A node that was picked, and leave to send it one request. */
public class Pick internal constructor(private val record: PickedRecord) : AutoCloseable {
    /** The node. */
    public val node: NodeId get() = record.node

    /** The request succeeded, after so long. */
    public fun success(latency: Duration): Unit = record.permit.use { it.success(latency) }

    /** The request failed, after so long. */
    public fun failure(kind: CallFailure, latency: Duration): Unit =
        record.permit.use { it.failure(kind, latency) }

    /** The request was given up, which says nothing about the node. */
    override fun close(): Unit = record.permit.destroy()
}

/** A circuit breaker for calls that the app makes by itself. It needs no fog. */
public class Breaker(options: BreakerOptions = BreakerOptions()) : AutoCloseable {
    private val handle = BreakerHandle(options)

    /** Whether it lets calls through. */
    public val state: BreakerState get() = handle.state()

    /** What it has counted. */
    public val stats: BreakerStats get() = handle.stats()

    /**
     * Makes a call, if the breaker lets it through, and counts how it went.
     *
     * @throws FogException.Unavailable if it is open, with the time after which to ask again
     */
    public suspend fun <T> call(block: suspend () -> T): T = handle.acquire().use { permit ->
        try {
            block().also { permit.success() }
        } catch (given: CancellationException) {
            throw given
        } catch (thrown: Throwable) {
            permit.failure()
            throw thrown
        }
    }

    /** Opens it until it is released. */
    public fun forceOpen(): Unit = handle.forceOpen()

    /** Closes it until it is released. */
    public fun forceClosed(): Unit = handle.forceClosed()

    /** Ends what was forced. */
    public fun release(): Unit = handle.release()

    override fun close(): Unit = handle.destroy()
}
