// The bridge app: a device that is a node of a fog, serves tasks while it may, and tells what it
// earns. Submit tasks from another process on the same database.
import Foundation
import Fogcore

/// How a device is that somebody plays with.
final class SimulatedPower: PowerMonitor {
    let current = PowerState(battery: 60, charging: true)

    var states: AsyncStream<PowerState> {
        AsyncStream { continuation in
            let day = _Concurrency.Task {
                let states = [
                    PowerState(battery: 55, charging: false),
                    PowerState(battery: 12, charging: true),
                    PowerState(battery: 40, charging: true),
                ]
                while !_Concurrency.Task.isCancelled {
                    for state in states {
                        continuation.yield(state)
                        try? await _Concurrency.Task.sleep(nanoseconds: 2_000_000_000)
                    }
                }
            }
            continuation.onTermination = { _ in day.cancel() }
        }
    }
}

let path = CommandLine.arguments.dropFirst().first ?? "fog.db"
let options = FogOptions(power: PowerRules(settle: 1), heartbeatEvery: 0.2)
let fog = try await Fog.open("sqlite:\(path)", options: options)
let phone = Node(
    id: "phone-1", kind: .phone, owner: "ann", slots: 2,
    rates: Rates(perTask: try Asset.fog.amount("0.01"))
)
let worker = try await fog.serve(phone, power: SimulatedPower(), executors: [
    "reverse": { job in Data(job.payload.reversed()) },
])
for try await numbered in fog.events(feed: "console") {
    if case let .taskSucceeded(task, _, paid) = numbered.event {
        let earned = try await fog.account("ann")?.available ?? "0"
        print("did \(task), paid \(paid.formatted()), earned \(earned.formatted()) so far")
    }
}
try await worker.stop()
await fog.shutdown()
