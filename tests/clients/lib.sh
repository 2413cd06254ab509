# shellcheck shell=bash
# What the scripts about clients share: counting of checks, and ports. PYTHON and WORK are set by them.

passed=0 failed=0

# check NAME COMMAND...: counts it, and shows the end of what it says when it fails.
check() {
  local name=$1
  shift
  if "$@" >"$WORK/out" 2>&1; then
    passed=$((passed + 1))
    echo "ok      $name"
  else
    failed=$((failed + 1))
    echo "FAILED  $name"
    tail -n 40 "$WORK/out" | sed 's/^/        /'
  fi
}

# The first of three neighbouring free ports.
free_ports() {
  "$PYTHON" - <<'PYTHON'
import random, socket

for _ in range(1000):
    first = random.randrange(20000, 32000)
    try:
        held = [socket.create_server(("127.0.0.1", port)) for port in range(first, first + 3)]
    except OSError:
        continue
    for one in held:
        one.close()
    print(first)
    break
PYTHON
}
