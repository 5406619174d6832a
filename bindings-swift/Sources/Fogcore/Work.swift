import Foundation

/// Does the work of a kind of task, and gives its result, at most 1 MiB. What it throws fails the
/// attempt and nothing else: `ExecutionError.Permanent` for good, everything else until the next.
public typealias Executor = @Sendable (Job) async throws -> Data

/// One attempt at a task, in the hands of an executor.
public struct Job: Sendable {
    let record: JobRecord
    let control: JobControl

    /// The task.
    public var task: TaskId { record.task }
    /// Its kind.
    public var kind: TaskKind { record.kind }
    /// What it is asked with.
    public var payload: Data { record.payload }
    /// The attempt, from 1.
    public var attempt: UInt32 { record.attempt }
    /// What an attempt before this one saved.
    public var checkpoint: Data? { record.checkpoint }
    /// Whether the node is so warm that the job should do less.
    public var isThrottled: Bool { control.isThrottled() }
    /// Whether nobody wants the answer any more.
    public var isCancelled: Bool { control.isCancelled() }

    /// Tells how far the work is, 0–1.
    public func report(_ done: Double, note: String = "") {
        control.report(done: done, note: note)
    }

    /// Writes a line into the task's log.
    public func log(_ line: String) {
        control.log(line: line)
    }

    /// Saves what the next attempt should begin with, at most 1 MiB.
    public func save(_ checkpoint: Data) throws {
        try control.save(checkpoint: checkpoint)
    }

    /// What one of the tasks gave that had to end before this one.
    public func result(of parent: TaskId) async throws -> Data? {
        try await control.resultOf(parent: parent)
    }
}

/// The executors, as the library calls them.
final class Serving: ForeignExecutor {
    private let executors: [TaskKind: Executor]

    init(_ executors: [TaskKind: Executor]) {
        self.executors = executors
    }

    func execute(job: JobRecord, control: JobControl) async throws -> Output {
        guard let executor = executors[job.kind] else {
            throw ExecutionError.Transient(reason: "nobody serves \(job.kind)")
        }
        do {
            return Output(result: try await executor(Job(record: job, control: control)))
        } catch let error as ExecutionError {
            throw error
        } catch {
            throw ExecutionError.Transient(reason: "the executor threw \(error)")
        }
    }
}

/// A node at work in this process.
public final class Worker: Sendable {
    /// The generated handle.
    public let handle: WorkerHandle
    private let following: _Concurrency.Task<Void, Never>?

    init(handle: WorkerHandle, power: PowerMonitor?) {
        self.handle = handle
        following = power.map { monitor in
            _Concurrency.Task {
                for await state in monitor.states {
                    handle.update(vitals: Heartbeat(power: state))
                }
            }
        }
    }

    /// How the node is from now on, for apps without a `PowerMonitor`.
    public func update(_ vitals: Heartbeat) {
        handle.update(vitals: vitals)
    }

    /// Takes no more tasks, lets what runs end in time, and gives back the rest.
    public func stop() async throws {
        following?.cancel()
        try await handle.stop()
    }

    deinit {
        following?.cancel()
    }
}
