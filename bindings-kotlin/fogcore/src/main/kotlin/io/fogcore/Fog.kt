package io.fogcore

import kotlin.time.Duration
import kotlin.time.Instant
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext

/**
 * A fog: its nodes, tasks and accounts, in this process and all others on the same store.
 *
 * Every suspending function throws a [FogException]. One that changes something goes on to its end
 * when its coroutine is cancelled, so nothing is half done; one that only waits ends with it.
 *
 * ```
 * Fog.open("sqlite:/data/fog.db").use { fog ->
 *     fog.serve(node("phone", NodeKind.PHONE)) {
 *         execute("shout") { job -> job.payload.decodeToString().uppercase().encodeToByteArray() }
 *     }
 *     val task = fog.submit(task("shout"), "hello".encodeToByteArray())
 *     fog.await(task.id)
 * }
 * ```
 */
public class Fog private constructor(internal val handle: FogHandle) : AutoCloseable {
    private val workers = mutableSetOf<Worker>()

    /** The time of this fog's clock. */
    public fun now(): Instant = handle.now()

    /** Adds a node, or updates it; opens its owner's account if need be. */
    public suspend fun register(node: Node): NodeStatus = handle.register(node)

    /** Takes the heartbeat of a node that no worker of this process beats for. */
    public suspend fun heartbeat(node: NodeId, heartbeat: Heartbeat): NodeStatus =
        handle.heartbeat(node, heartbeat)

    /** A node, if it is there. */
    public suspend fun node(node: NodeId): NodeStatus? = handle.node(node)

    /** The nodes that match, by id, beginning after [after]; at most [limit] (1–1,000). */
    public suspend fun nodes(
        filter: NodeFilter = NodeFilter(),
        after: NodeId? = null,
        limit: Int = 1_000,
    ): List<NodeStatus> = handle.nodes(filter, after, limit.toUInt())

    /** Forgets a node; false if it was not there. */
    public suspend fun removeNode(node: NodeId): Boolean = handle.removeNode(node)

    /**
     * Registers [node] and begins to serve tasks with the executors of [block], in this process.
     *
     * [power] tells how the device is; what it says decides whether there is work for it. Executors
     * run on [dispatcher]: those that block belong on [Dispatchers.IO].
     */
    public suspend fun serve(
        node: Node,
        power: PowerMonitor? = null,
        dispatcher: CoroutineDispatcher = Dispatchers.Default,
        block: ServeBuilder.() -> Unit,
    ): Worker {
        val executors = ServeBuilder().apply(block).executors.toMap()
        val vitals = Heartbeat(power = power?.states?.first())
        val serving = Serving(executors, dispatcher)
        val started = handle.serve(node, executors.keys.toList(), serving, vitals)
        val worker = Worker(started, power) { synchronized(workers) { workers -= it } }
        synchronized(workers) { workers += worker }
        return worker
    }

    /** Submits one task. */
    public suspend fun submit(request: TaskRequest, payload: ByteArray = ByteArray(0)): Task =
        handle.submit(request, payload)

    /** Submits up to 1,000 tasks in one durable step, each on its own. */
    public suspend fun submitAll(submissions: List<Submission>): List<SubmitAnswer> =
        handle.submitAll(submissions)

    /** A task as it is now. */
    public suspend fun task(task: TaskId): Task = handle.task(task)

    /** The tasks that match in the order of submission, beginning after [after]. */
    public suspend fun tasks(
        filter: TaskFilter = TaskFilter(),
        after: TaskId? = null,
        limit: Int = 1_000,
    ): List<Task> = handle.tasks(filter, after, limit.toUInt())

    /** How many tasks are in each state that has some. */
    public suspend fun taskCounts(): Map<TaskState, Long> =
        handle.taskCounts().associate { it.state to it.tasks.toLong() }

    /** Waits until the task's state is final, wherever it is executed. */
    public suspend fun await(task: TaskId): Task = handle.wait(task)

    /** What a task gave, if it succeeded and that is still kept. */
    public suspend fun result(task: TaskId): ByteArray? = handle.result(task)

    /** Calls a task off. */
    public suspend fun cancel(task: TaskId): Task = handle.cancel(task)

    /** Lets a task run that is held because one that it waits for ended without success. */
    public suspend fun resume(task: TaskId): Task = handle.resume(task)

    /** Why a task's latest lease went where it went; none before the first. */
    public suspend fun explanation(task: TaskId): Explanation? = handle.explanation(task)

    /** Where a task like this one would go now, and why; or what stands in its way. */
    public suspend fun explain(request: TaskRequest, top: Int = 3): Explanation =
        handle.explain(request, top.toUInt())

    /** The lines of a task's log that are kept, behind the one with the number [after]. */
    public suspend fun log(task: TaskId, after: Long = 0, limit: Int = 1_000): List<TaskLog> =
        handle.log(task, after.toULong(), limit.toUInt())

    /** An id for a transfer to be made: sent twice under it, a transfer happens once. */
    public fun newTransferId(): TransferId = handle.newTransferId()

    /** Opens an account; again on the same terms, it is returned as it is. */
    public suspend fun openAccount(
        id: AccountId,
        asset: Asset? = null,
        mayOwe: Boolean = false,
    ): Account = handle.openAccount(NewAccount(id, asset, mayOwe))

    /** An account as it is now, if it is there. */
    public suspend fun account(account: AccountId): Account? = handle.account(account)

    /** Gives an account new supply of the fog's asset; opens it if need be. */
    public suspend fun mint(account: AccountId, amount: Amount): Unit = handle.mint(account, amount)

    /** Moves [amount] from [debit] to [credit]. Again under the same [id], it is the same transfer. */
    public suspend fun transfer(
        debit: AccountId,
        credit: AccountId,
        amount: Amount,
        id: TransferId = newTransferId(),
    ): TransferAnswer =
        handle.transferAll(listOf(Transfer(id, TransferAction.Direct(debit, credit, amount)))).single()

    /** Applies up to 8,190 transfers in order, in one durable step, and answers each. */
    public suspend fun transferAll(transfers: List<Transfer>): List<TransferAnswer> =
        handle.transferAll(transfers)

    /** A transfer that was applied, if it was. */
    public suspend fun transfer(id: TransferId): TransferAnswer? = handle.transfer(id)

    /** The sums over all accounts, by asset. */
    public suspend fun trialBalance(): List<AssetTotal> = handle.trialBalance()

    /**
     * What happens in this process, from the first time that [feed] is asked for.
     *
     * Events are pulled as the collector takes them, so a slow one holds up nobody and costs a
     * bounded amount; what it was too slow for is counted ([NumberedEvent.missed]). An event counts
     * as heard when the collector asks for the next one: what a cancelled collector had not heard,
     * the next one on the same feed hears. The flow ends with the fog.
     */
    public fun events(feed: String = "default", atOnce: Int = 100): Flow<NumberedEvent> = flow {
        try {
            handle.feed(feed).use { source ->
                while (true) {
                    for (event in source.pull(atOnce.toUInt())) {
                        emit(event)
                        source.acknowledge(event.number)
                    }
                }
            }
        } catch (end: FogException.Unavailable) {
            if (!isShutDown) throw end
        }
    }

    /** Forgets a feed with what it kept; false if it was not there. */
    public fun forgetFeed(feed: String): Boolean = handle.forgetFeed(feed)

    /** Tells [listener] what [feed] has until it throws or is stopped; then the rest is kept. */
    public fun listen(feed: String = "default", listener: EventListener): Listening =
        handle.listen(feed, Telling(listener))

    /** A balancer over this fog's nodes, which follows them as long as it is open. */
    public suspend fun balancer(options: BalancerOptions = BalancerOptions()): Balancer =
        Balancer(handle.balancer(options))

    /** Watches nodes with a probe of your own; this fog's balancers follow it. */
    public fun watch(
        every: Duration? = null,
        timeout: Duration? = null,
        probe: HealthProbe,
    ): HealthMonitor = HealthMonitor(handle.watch(Probing(probe), every, timeout))

    /** Makes a zone, or changes the one with its id. */
    public suspend fun putZone(zone: ZoneOptions): Unit = handle.putZone(zone)

    /** Opens a session of a zone on a host, with these players. */
    public suspend fun openSession(
        host: NodeId,
        zone: ZoneId,
        players: List<PeerId> = emptyList(),
        maxPlayers: Int? = null,
    ): Session = handle.openSession(host, zone, maxPlayers?.toUInt(), players)

    /** A session. */
    public suspend fun session(session: SessionId): Session = handle.session(session)

    /** Ends a session. Who is connected to it hears no more. */
    public suspend fun endSession(session: SessionId, reason: String): Session =
        handle.endSession(session, reason)

    /** Connects a peer to an open session. */
    public suspend fun connect(session: SessionId, peer: PeerId): PeerConnection =
        PeerConnection(handle.connect(session, peer))

    /** Connects a peer again whose connection dropped, behind the last delivery that it heard. */
    public suspend fun reconnect(
        session: SessionId,
        peer: PeerId,
        token: String,
        heard: Long,
    ): PeerConnection = PeerConnection(handle.reconnect(session, peer, token, heard.toULong()))

    /** Leaves a signal for the others of a session, durably; for peers that poll. */
    public suspend fun putMail(session: SessionId, peer: PeerId, signal: Signal): PeerMail =
        handle.putMail(session, peer, signal)

    /** What the peers of a session left. */
    public suspend fun mail(session: SessionId): List<PeerMail> = handle.mail(session)

    /** Whether it was shut down. */
    @Volatile
    public var isShutDown: Boolean = false
        private set

    /**
     * Stops in good order: workers take no more tasks, what runs has [FogOptions.grace] to end, the
     * rest is given back, whoever waits is told, and the store is let go. Again, it does nothing.
     */
    public suspend fun shutdown() {
        isShutDown = true
        withContext(NonCancellable) {
            handle.takeUnless { it.uniffiIsDestroyed }?.shutdown()
            synchronized(workers) { workers.toList() }.forEach { it.close() }
            handle.destroy()
        }
    }

    /** [shutdown], for those who cannot suspend. It blocks: not for a main thread. */
    override fun close(): Unit = runBlocking { shutdown() }

    public companion object {
        /**
         * Opens the fog on the store that [url] names: `memory:` or `sqlite:PATH` (the file is made
         * if need be). With a [scaleHook], an autoscaler asks it for more nodes, or gives some back.
         */
        public suspend fun open(
            url: String = "memory:",
            options: FogOptions = FogOptions(),
            scaling: ScaleOptions? = null,
            scaleHook: ScaleHook? = null,
        ): Fog {
            NativeThreads.ready()
            return Fog(openFog(url, options, scaling, scaleHook?.let(::Scaling)))
        }

        /** How many objects of the native library are alive in this process, for tests. */
        public fun liveHandles(): Long = io.fogcore.liveHandles().toLong()
    }
}
