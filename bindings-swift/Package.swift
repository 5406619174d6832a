// swift-tools-version:5.9
import PackageDescription

// The native library is a binary target, which scripts/xcframework.sh builds on a Mac; the generated
// source in Sources/Fogcore is written by `cargo xtask bindings swift`. See IOS.md.
let package = Package(
    name: "Fogcore",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [
        .library(name: "Fogcore", targets: ["Fogcore"]),
    ],
    targets: [
        .binaryTarget(name: "fogcoreFFI", path: "FogcoreFFI.xcframework"),
        .target(name: "Fogcore", dependencies: ["fogcoreFFI"]),
        .executableTarget(name: "BridgeApp", dependencies: ["Fogcore"], path: "Examples/BridgeApp"),
    ]
)
