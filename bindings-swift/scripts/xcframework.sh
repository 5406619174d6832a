#!/usr/bin/env bash
# Builds FogcoreFFI.xcframework and the generated Swift sources. Needs a Mac with Xcode and rustup.
set -euo pipefail
package="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$package/.."

if [[ "$(uname)" != Darwin ]]; then
    echo "an XCFramework is built on a Mac: xcodebuild is needed" >&2
    exit 1
fi

devices=aarch64-apple-ios
simulators=(aarch64-apple-ios-sim x86_64-apple-ios)
macs=(aarch64-apple-darwin x86_64-apple-darwin)
for target in "$devices" "${simulators[@]}" "${macs[@]}"; do
    rustup target add "$target"
    cargo rustc --package fogcore-ffi --lib --crate-type staticlib --profile release-small \
        --features silent --target "$target"
done

cargo xtask bindings swift

target="$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"
library() { echo "$target/$1/release-small/libfogcore_ffi.a"; }
# One slice has one library: those for two kinds of processor are joined.
joined="$target/xcframework"
mkdir -p "$joined/simulator" "$joined/mac"
lipo -create "$(library "${simulators[0]}")" "$(library "${simulators[1]}")" \
    -output "$joined/simulator/libfogcore_ffi.a"
lipo -create "$(library "${macs[0]}")" "$(library "${macs[1]}")" \
    -output "$joined/mac/libfogcore_ffi.a"

rm -rf "$package/FogcoreFFI.xcframework"
xcodebuild -create-xcframework \
    -library "$(library "$devices")" -headers "$package/include" \
    -library "$joined/simulator/libfogcore_ffi.a" -headers "$package/include" \
    -library "$joined/mac/libfogcore_ffi.a" -headers "$package/include" \
    -output "$package/FogcoreFFI.xcframework"
