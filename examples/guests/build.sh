#!/bin/sh
# Rebuilds the guest programs. Needs clang with the wasm32 target, lld and wasi-libc (Debian: clang lld wasi-libc
# libclang-rt-14-dev-wasm32). The results are checked in, so nobody needs this to run the examples.
set -eu
cd "$(dirname "$0")"
for program in climate ticker; do
    clang --target=wasm32-wasi --sysroot=/usr -isystem /usr/include/wasm32-wasi -L/usr/lib/wasm32-wasi \
        -Oz -flto -Wl,--strip-all -Wl,--lto-O3 -o "$program.wasm" "$program.c"
done
