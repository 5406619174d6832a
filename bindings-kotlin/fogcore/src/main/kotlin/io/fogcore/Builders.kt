package io.fogcore

import kotlin.time.Duration
import kotlin.time.Instant

/** Keeps the builders apart: what belongs to an outer one is not changed within an inner one. */
@DslMarker
public annotation class FogDsl

/**
 * A node to be registered.
 *
 * ```
 * val phone = node("phone-7", NodeKind.PHONE) {
 *     owner = AccountId("ann")
 *     slots = 2u
 *     label("os", "android")
 *     rates(perTask = Asset.FOG.amount("0.01"))
 * }
 * ```
 */
public fun node(id: String, kind: NodeKind = NodeKind.OTHER, block: NodeBuilder.() -> Unit = {}): Node =
    NodeBuilder(NodeId(id), kind).apply(block).build()

/** See [node]. */
@FogDsl
public class NodeBuilder internal constructor(private val id: NodeId, private val kind: NodeKind) {
    /** A name for people, up to 128 characters. */
    public var name: String = ""

    /** The account that is paid for its work; without one, it works for free. */
    public var owner: AccountId? = null

    /** Where it stands, up to 64 characters. */
    public var region: String = ""

    /** How many tasks it executes at once; a worker's node has at least one. */
    public var slots: UInt = 0u

    /** What it has. */
    public var resources: Resources? = null

    private var rates: Rates? = null
    private val labels = mutableMapOf<String, String>()
    private val addresses = mutableListOf<Address>()
    private val serves = mutableListOf<TaskKind>()
    private val powerBudget = mutableMapOf<String, UInt>()

    /** A label for selectors; at most 64. */
    public fun label(key: String, value: String) {
        labels[key] = value
    }

    /** Where it can be reached; at most 16. */
    public fun address(host: String, port: Int) {
        addresses += Address(host, port.toUShort())
    }

    /** A kind of task that it executes; a worker fills in its own. */
    public fun serves(kind: String) {
        serves += TaskKind(kind)
    }

    /** How much power the tasks of a class may draw together, in milliwatts. */
    public fun powerBudget(taskClass: String, milliwatts: UInt) {
        powerBudget[taskClass] = milliwatts
    }

    /** What its owner asks for work. */
    public fun rates(
        perTask: Amount? = null,
        perBusySecond: Amount? = null,
        perGib: Amount? = null,
        perCpuHour: Amount? = null,
        perMemoryGibHour: Amount? = null,
        perGpuHour: Amount? = null,
    ) {
        rates = Rates(perTask, perBusySecond, perGib, perCpuHour, perMemoryGibHour, perGpuHour)
    }

    internal fun build(): Node = Node(
        id = id,
        kind = kind,
        name = name,
        owner = owner,
        region = region,
        addresses = addresses.toList(),
        labels = labels.toMap(),
        resources = resources,
        serves = serves.toList(),
        slots = slots,
        rates = rates,
        powerBudget = powerBudget.toMap(),
    )
}

/**
 * A task to be submitted.
 *
 * ```
 * val resize = task("resize") {
 *     paidBy(AccountId("ann"), atMost = Asset.FOG.amount("0.5"))
 *     maxAttempts = 2u
 *     needs { memoryMib = 512uL; label("os", "android") }
 * }
 * ```
 */
public fun task(kind: String, block: TaskBuilder.() -> Unit = {}): TaskRequest =
    TaskBuilder(TaskKind(kind)).apply(block).build()

/** See [task]. */
@FogDsl
public class TaskBuilder internal constructor(private val kind: TaskKind) {
    /** Higher goes first. */
    public var priority: Short = 0

    /** When it must have been handed to a node, or it fails. */
    public var deadline: Instant? = null

    /** It waits until then. */
    public var notBefore: Instant? = null

    /** How many attempts it gets, 1–1,000; 3 unless told. */
    public var maxAttempts: UInt? = null

    /** The client's own name for this submission: submitted twice, it is one task. */
    public var idempotencyKey: IdempotencyKey? = null

    /** How long its node may be away, and still finish it, up to 30 days. */
    public var offlineFor: Duration? = null

    /** How long its result is kept after its end, up to 10 years. */
    public var retainFor: Duration? = null

    /** How often it is done, and so how much its result can be relied on. */
    public var sla: SlaClass? = null

    /** What becomes of it when a task that it waits for ends without success. */
    public var ifParentFails: ParentFailure? = null

    private var budget: Budget? = null
    private var retry: Retry? = null
    private var requirements: TaskRequirements? = null
    private val after = mutableListOf<TaskId>()

    /** Who pays, and how much at most: that much is reserved while the task is open. */
    public fun paidBy(payer: AccountId, atMost: Amount) {
        budget = Budget(payer, atMost)
    }

    /** How long it waits between attempts. */
    public fun retry(
        initial: Duration? = null,
        factor: Double? = null,
        atMost: Duration? = null,
        jitter: Double? = null,
    ) {
        retry = Retry(initial, factor, atMost, jitter)
    }

    /** A task that must have ended before it may run; at most 64. */
    public fun after(task: TaskId) {
        after += task
    }

    /** What the node must have. */
    public fun needs(block: RequirementsBuilder.() -> Unit) {
        requirements = RequirementsBuilder().apply(block).build()
    }

    internal fun build(): TaskRequest = TaskRequest(
        kind = kind,
        requirements = requirements,
        priority = priority,
        deadline = deadline,
        budget = budget,
        idempotencyKey = idempotencyKey,
        maxAttempts = maxAttempts,
        retry = retry,
        notBefore = notBefore,
        offlineFor = offlineFor,
        sla = sla,
        retainFor = retainFor,
        after = after.toList(),
        ifParentFails = ifParentFails,
    )
}

/** See [TaskBuilder.needs]. */
@FogDsl
public class RequirementsBuilder internal constructor() {
    /** CPU in thousandths of a core, for the task alone. */
    public var cpuMilli: UInt = 0u

    /** Memory in MiB, for the task alone. */
    public var memoryMib: ULong = 0uL

    /** Storage in MiB, for the task alone. */
    public var storageMib: ULong = 0uL

    /** Network bandwidth in Mbit/s that the node must have. */
    public var bandwidthMbps: UInt = 0u

    /** How many whole GPUs. */
    public var gpus: UInt = 0u

    /** The region that the node must stand in. */
    public var region: String? = null

    /** The least quality of the node, 0–100. */
    public var minQuality: Double? = null

    /** The most that a task of one second may cost there. */
    public var maxPrice: Amount? = null

    /** Whether it wants the node for itself. */
    public var exclusive: Boolean = false

    private val labels = mutableMapOf<String, String>()

    /** A label that the node must have, with this value. */
    public fun label(key: String, value: String) {
        labels[key] = value
    }

    internal fun build(): TaskRequirements = TaskRequirements(
        cpuMilli = cpuMilli,
        memoryMib = memoryMib,
        storageMib = storageMib,
        bandwidthMbps = bandwidthMbps,
        gpus = gpus,
        labels = labels.toMap(),
        region = region,
        minQuality = minQuality,
        maxPrice = maxPrice,
        exclusive = exclusive,
    )
}
