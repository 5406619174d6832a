import Foundation

/// A text that the core reads when it is used.
public protocol FogText: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The text.
    var text: String { get }

    /// From a text that was not looked at yet.
    init(text: String)
}

extension FogText {
    public init(stringLiteral value: String) {
        self.init(text: value)
    }

    public var description: String { text }
}

/// A node: 1–128 visible characters.
public struct NodeId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// An account of the ledger: 1–128 visible characters.
public struct AccountId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// What a task is about: 1–64 visible characters.
public struct TaskKind: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// A client's own name for a submission, unique per payer: 1–256 visible characters.
public struct IdempotencyKey: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// Somebody who meets others in a session: 1–128 visible characters.
public struct PeerId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// A part of a game's world: 1–128 visible characters.
public struct ZoneId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// A session of players: 1–128 visible characters.
public struct SessionId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// A task: a UUID, made by the fog.
public struct TaskId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// A transfer: a UUID, made by the client.
public struct TransferId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// A trade on the marketplace: a UUID.
public struct TradeId: FogText {
    public let text: String
    public init(text: String) { self.text = text }
}

/// An exact amount in base units of its asset, in digits. No float ever touches it.
public struct Amount: FogText {
    public let text: String
    public init(text: String) { self.text = text }

    /// For people, in an asset: `2.5 FOG`.
    public func formatted(in asset: Asset = .fog) -> String {
        formatAmount(asset: asset, amount: self)
    }
}

/// What an account counts: the code of a known asset, or `CODE:DECIMALS` for one of your own.
public struct Asset: FogText {
    public let text: String
    public init(text: String) { self.text = text }

    /// The fog's own token, with 18 decimals.
    public static let fog = Asset(text: "FOG")

    /// Reads an amount from a decimal text, such as `"2.5"`.
    public func amount(_ text: String) throws -> Amount {
        try parseAmount(asset: self, text: text)
    }
}

/// How the core writes a point in time: RFC 3339, to the microsecond.
private let fractions: Date.ISO8601FormatStyle = .iso8601
    .year().month().day().timeZone(separator: .omitted)
    .time(includingFractionalSeconds: true)
    .dateSeparator(.dash).timeSeparator(.colon)

/// A point in time that crossed the boundary. Without a fraction, the core writes none.
func fogDate(_ text: String) -> Date {
    (try? Date(text, strategy: fractions)) ?? (try? Date(text, strategy: .iso8601)) ?? .distantPast
}

/// A point in time as it crosses the boundary.
func fogText(_ date: Date) -> String {
    date.formatted(fractions)
}
