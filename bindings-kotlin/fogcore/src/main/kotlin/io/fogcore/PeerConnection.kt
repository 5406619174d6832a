package io.fogcore

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow

/**
 * A peer's connection to a session. Closed without [leave], it is what a dropped socket is: for a
 * while the peer may come back ([Fog.reconnect]), and the others notice nothing.
 */
public class PeerConnection internal constructor(
    private val handle: PeerConnectionHandle,
) : AutoCloseable {
    /** What the peer comes back with. A secret. */
    public val token: String get() = handle.token()

    /** What the peer hears, until the session is over, or it left or connected anew. */
    public val deliveries: Flow<Delivery> = flow {
        while (true) emit(handle.next() ?: break)
    }

    /** What the peer hears next; none once it hears no more. */
    public suspend fun next(): Delivery? = handle.next()

    /** Says something to another peer of the session. */
    public suspend fun send(to: PeerId, signal: Signal): Sent = handle.send(to, signal)

    /** The peer has heard everything up to this number, and will not ask for it again. */
    public suspend fun acknowledge(heard: Long): Unit = handle.acknowledge(heard.toULong())

    /** The peer goes for good, and the others hear of it. */
    public suspend fun leave(): Unit = handle.leave()

    override fun close(): Unit = handle.destroy()
}
