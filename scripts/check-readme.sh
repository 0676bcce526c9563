#!/usr/bin/env bash
# Runs the README's commands that set the program up, as it prints them and in order, and compares what the first one
# made with the table and the picture that the README shows. Then lists the blocks that no test runs from the text itself.
#
# Usage: scripts/check-readme.sh, in a clone without runs/quickstart
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -e runs/quickstart ] || { echo "runs/quickstart is there already: the first command would not train" >&2; exit 1; }

# The blocks under this mark; the first holds the two commands.
mapfile -t commands < <(awk '
    $0 == "<!-- run by scripts/check-readme.sh -->" { marked = 1; next }
    /^```/ { inside = marked && !inside; if (!inside) marked = 0; next }
    inside' README.md)
wanted="cargo run --release -- run|cargo test --workspace|cargo install --locked --path crates/runner"
[ "$(IFS="|"; echo "${commands[*]}")" = "$wanted" ] || {
    printf 'README.md: its commands to run here are not those expected:\n' >&2
    printf '  %s\n' "${commands[@]}" >&2
    exit 1
}
export CARGO_INSTALL_ROOT=$PWD/target/installed
for command in "${commands[@]}"; do
    echo "+ $command"
    bash -c "$command"
done
"$CARGO_INSTALL_ROOT/bin/colormamba" --version
# Built by the second command; by itself it would be built again with all it depends on, under other features.
"${CARGO_TARGET_DIR:-target}/debug/examples/readme"

echo "Blocks of commands that are not run from the text:"
grep -nE '^<!-- (not run: |run by )' README.md docs/*.md | sed -e 's/<!-- not run: /skipped: /' -e 's/<!-- //' -e 's/ -->$//'
