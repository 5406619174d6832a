import Foundation

/// Tells how a device is: battery, charging, heat, whether its network is metered, and whether
/// somebody uses it.
public protocol PowerMonitor: Sendable {
    /// The state now.
    var current: PowerState { get }

    /// The state whenever it changes.
    var states: AsyncStream<PowerState> { get }
}

#if os(iOS)
import UIKit

/// What iOS tells: battery and charging, and its thermal state as the heat that it stands for. In
/// low-power mode a device counts as not charging, so it gets no work.
public final class DevicePowerMonitor: PowerMonitor, @unchecked Sendable {
    public init() {
        DispatchQueue.main.async { UIDevice.current.isBatteryMonitoringEnabled = true }
    }

    public var current: PowerState {
        let (device, process) = (UIDevice.current, ProcessInfo.processInfo)
        let level = device.batteryLevel
        let plugged = device.batteryState == .charging || device.batteryState == .full
        return PowerState(
            battery: level < 0 ? nil : Double(level) * 100,
            charging: plugged && !process.isLowPowerModeEnabled,
            temperature: Self.celsius(process.thermalState)
        )
    }

    public var states: AsyncStream<PowerState> {
        AsyncStream { continuation in
            let names: [Notification.Name] = [
                UIDevice.batteryLevelDidChangeNotification,
                UIDevice.batteryStateDidChangeNotification,
                ProcessInfo.thermalStateDidChangeNotification,
                .NSProcessInfoPowerStateDidChange,
            ]
            let observers = names.map { name in
                NotificationCenter.default.addObserver(forName: name, object: nil, queue: nil) { _ in
                    continuation.yield(self.current)
                }
            }
            continuation.onTermination = { _ in
                observers.forEach(NotificationCenter.default.removeObserver)
            }
        }
    }

    /// iOS gives no degrees: these stand for what the core does at each (start below 45, do less
    /// from 55, cool down from 65).
    static func celsius(_ state: ProcessInfo.ThermalState) -> Double {
        switch state {
        case .nominal: return 30
        case .fair: return 44
        case .serious: return 56
        case .critical: return 66
        @unknown default: return 56
        }
    }
}
#endif
