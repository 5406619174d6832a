package io.fogcore

/** Hears of events. What it throws ends its listening; what it had not heard is kept. */
public fun interface EventListener {
    /** Takes some events; they count as heard when it returns. */
    public suspend fun onEvents(events: List<NumberedEvent>)
}

/** Turns whatever is thrown into what the library knows. */
internal class Telling(private val listener: EventListener) : ForeignListener {
    override suspend fun onEvents(events: List<NumberedEvent>): Unit = try {
        listener.onEvents(events)
    } catch (thrown: Exception) {
        throw ListenerException.Failed(thrown.toString())
    } catch (thrown: Error) {
        throw ListenerException.Failed(thrown.toString())
    }
}

/** Asks a node whether it is well: returns if so, and throws if not. */
public fun interface HealthProbe {
    /** Probes a node once; its coroutine is cancelled when its time is over. */
    public suspend fun probe(node: NodeId, address: Address?)
}

internal class Probing(private val probe: HealthProbe) : ForeignProbe {
    override suspend fun probe(node: NodeId, address: Address?): Unit = try {
        probe.probe(node, address)
    } catch (thrown: ProbeFailure) {
        throw thrown
    } catch (thrown: Exception) {
        throw ProbeFailure.Other(thrown.toString())
    } catch (thrown: Error) {
        throw ProbeFailure.Other(thrown.toString())
    }
}

/** Watches nodes with a [HealthProbe]. Closed, it watches no more. */
public class HealthMonitor internal constructor(private val handle: HealthMonitorHandle) : AutoCloseable {
    /** Watches a node. */
    public fun add(node: NodeId, address: Address? = null): Unit = handle.add(node, address)

    /** Watches a node no more; false if it was not watched. */
    public fun remove(node: NodeId): Boolean = handle.remove(node)

    /** What it thinks of a node, if it watches it. */
    public fun health(node: NodeId): Health? = handle.health(node)

    override fun close(): Unit = handle.destroy()
}

/** Makes nodes come and go. It should answer when the request is taken, not when they are there. */
public fun interface ScaleHook {
    /** Asks for another number of nodes. What it throws means that nobody knows what was done. */
    public suspend fun scale(request: ScaleRequest): ScaleAnswer
}

internal class Scaling(private val hook: ScaleHook) : ForeignScaleHook {
    override suspend fun scale(request: ScaleRequest): ScaleAnswer = try {
        hook.scale(request)
    } catch (thrown: Exception) {
        throw ScaleException.Failed(thrown.toString())
    } catch (thrown: Error) {
        throw ScaleException.Failed(thrown.toString())
    }
}
