# Sourced by the findings about Burn: a project with pinned packages (burn.lock) in a temporary folder.
# FINDINGS_TARGET, a folder, keeps what is compiled for the next finding. One about GPUs sets `lock` and `features` first.
set -euo pipefail
lock=${lock:-burn.lock}
features=${features:-'"autodiff", "flex", "optim", "rayon", "simd"'}
optimize=${optimize:-3}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<TOML
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
burn = { version = "=0.22.1", default-features = false, features = ["std", $features] }

[profile.release]
debug-assertions = false
opt-level = $optimize
TOML

cp "$(dirname "${BASH_SOURCE[0]}")/$lock" "$folder/Cargo.lock"

# Runs the program on standard input, and compares what it prints with $1.
expect() {
    cat >"$folder/src/main.rs"
    local printed
    printed=$(cd "$folder" && CARGO_TARGET_DIR="${FINDINGS_TARGET:-$folder/target}" cargo run --release --quiet --locked)
    printf '%s\n' "$printed"
    if [ "$printed" != "$1" ]; then
        printf 'It has changed. Before it was:\n%s\n' "$1" >&2
        exit 1
    fi
}
