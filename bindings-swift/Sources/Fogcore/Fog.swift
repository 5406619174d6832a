import Foundation

/// A fog: its nodes, tasks and accounts, in this process and all others on the same store.
///
/// Every call throws a `FogError`. One that changes something goes on to its end when its task is
/// cancelled, so nothing is half done; one that only waits ends with it.
///
/// ```swift
/// let fog = try await Fog.open("sqlite:\(path)")
/// let worker = try await fog.serve(phone, executors: ["shout": { job in
///     Data(String(decoding: job.payload, as: UTF8.self).uppercased().utf8)
/// }])
/// let task = try await fog.submit(request, payload: Data("hello".utf8))
/// let done = try await fog.wait(for: task.id)
/// await fog.shutdown()
/// ```
public final class Fog: Sendable {
    /// The generated handle, with every call of the library.
    public let handle: FogHandle

    private init(handle: FogHandle) {
        self.handle = handle
    }

    /// Opens the fog on the store that `url` names: `memory:` or `sqlite:PATH`.
    public static func open(
        _ url: String = "memory:",
        options: FogOptions = FogOptions(),
        scaling: ScaleOptions? = nil,
        scaleHook: ForeignScaleHook? = nil
    ) async throws -> Fog {
        Fog(handle: try await openFog(
            url: url, options: options, scaling: scaling, scaleHook: scaleHook
        ))
    }

    /// Adds a node, or updates it; opens its owner's account if need be.
    @discardableResult
    public func register(_ node: Node) async throws -> NodeStatus {
        try await handle.register(node: node)
    }

    /// A node, if it is there.
    public func node(_ id: NodeId) async throws -> NodeStatus? {
        try await handle.node(node: id)
    }

    /// Registers a node and begins to serve tasks, in this process. `power` tells how the device
    /// is: what it says decides whether there is work for it.
    public func serve(
        _ node: Node,
        power: PowerMonitor? = nil,
        executors: [TaskKind: Executor]
    ) async throws -> Worker {
        let vitals = Heartbeat(power: power?.current)
        let started = try await handle.serve(
            node: node, kinds: Array(executors.keys), executor: Serving(executors), vitals: vitals
        )
        return Worker(handle: started, power: power)
    }

    /// Submits one task.
    public func submit(_ request: TaskRequest, payload: Data = Data()) async throws -> FogTask {
        try await handle.submit(request: request, payload: payload)
    }

    /// Waits until the task's state is final, wherever it is executed.
    public func wait(for task: TaskId) async throws -> FogTask {
        try await handle.wait(task: task)
    }

    /// What a task gave, if it succeeded and that is still kept.
    public func result(of task: TaskId) async throws -> Data? {
        try await handle.result(task: task)
    }

    /// Calls a task off.
    @discardableResult
    public func cancel(_ task: TaskId) async throws -> FogTask {
        try await handle.cancel(task: task)
    }

    /// Why a task's latest lease went where it went; none before the first.
    public func explanation(of task: TaskId) async throws -> Explanation? {
        try await handle.explanation(task: task)
    }

    /// Where a task like this one would go now, and why; or what stands in its way.
    public func explain(_ request: TaskRequest, top: UInt32 = 3) async throws -> Explanation {
        try await handle.explain(request: request, top: top)
    }

    /// An account as it is now, if it is there.
    public func account(_ id: AccountId) async throws -> Account? {
        try await handle.account(account: id)
    }

    /// Moves an amount. Again under the same id, it is the same transfer.
    @discardableResult
    public func transfer(
        _ amount: Amount, from debit: AccountId, to credit: AccountId, id: TransferId? = nil
    ) async throws -> TransferAnswer {
        let action = TransferAction.direct(debit: debit, credit: credit, amount: amount)
        let transfer = Transfer(id: try id ?? handle.newTransferId(), action: action)
        return try await handle.transferAll(transfers: [transfer])[0]
    }

    /// A balancer over this fog's nodes, which follows them as long as it is there.
    public func balancer(_ options: BalancerOptions = BalancerOptions()) async throws -> Balancer {
        try await handle.balancer(options: options)
    }

    /// What happens in this process, from the first time that this feed is asked for.
    ///
    /// Events are pulled as they are taken, so a slow reader holds up nobody. An event counts as
    /// heard when the next one is asked for; what a cancelled reader had not heard, the next one on
    /// the same feed hears. The sequence ends with the fog.
    public func events(feed: String = "default", atOnce: UInt32 = 100) -> FogEvents {
        FogEvents(handle: handle, feed: feed, atOnce: atOnce)
    }

    /// Stops in good order: what runs has `FogOptions.grace` to end, the rest is given back. Again,
    /// it does nothing.
    public func shutdown() async {
        await handle.shutdown()
    }
}

/// The events of a feed, one after the other.
public struct FogEvents: AsyncSequence, Sendable {
    public typealias Element = NumberedEvent

    let handle: FogHandle
    let feed: String
    let atOnce: UInt32

    public func makeAsyncIterator() -> Iterator {
        Iterator(handle: handle, feed: feed, atOnce: atOnce)
    }

    /// Asks for the next batch when the last one was taken: that is the backpressure.
    public struct Iterator: AsyncIteratorProtocol {
        let handle: FogHandle
        let feed: String
        let atOnce: UInt32
        var source: EventFeed?
        var batch: ArraySlice<NumberedEvent> = []
        var given: UInt64?

        init(handle: FogHandle, feed: String, atOnce: UInt32) {
            self.handle = handle
            self.feed = feed
            self.atOnce = atOnce
        }

        public mutating func next() async throws -> NumberedEvent? {
            do {
                let source = try self.source ?? handle.feed(name: feed)
                self.source = source
                if let given {
                    source.acknowledge(number: given)
                }
                if batch.isEmpty {
                    batch = try await source.pull(limit: atOnce)[...]
                }
                let event = batch.popFirst()
                given = event?.number
                return event
            } catch FogError.Unavailable {
                return nil
            }
        }
    }
}

extension FogHandle {
    /// The same events as a stream, for code that wants one; it keeps the newest `capacity`.
    public func eventStream(
        feed: String = "default", capacity: Int = 1_000
    ) -> AsyncThrowingStream<NumberedEvent, Error> {
        let events = FogEvents(handle: self, feed: feed, atOnce: 100)
        return AsyncThrowingStream(bufferingPolicy: .bufferingNewest(capacity)) { continuation in
            let reading = _Concurrency.Task {
                do {
                    for try await event in events {
                        continuation.yield(event)
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in reading.cancel() }
        }
    }
}
