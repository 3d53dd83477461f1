# What the examples' tests share: sourced by each `test.sh`, not run.
#
# BASE_URL is where the data plane listens, APP_HOST the host name that leads to the app. Both have defaults that fit
# `make run`. The calls name the host by its header, so that nothing depends on how a machine resolves *.localhost.
set -euo pipefail

BASE_URL=${BASE_URL:-http://127.0.0.1:8080}
answer=$(mktemp -d)
listener=
trap '[ -z "$listener" ] || kill "$listener" 2>/dev/null; rm -rf "$answer"' EXIT
trap 'echo "FAIL  line $LINENO: $BASH_COMMAND" >&2' ERR

# call METHOD PATH [curl's options …]: asks, and leaves the answer in $status, $headers and $body.
call() {
    local method=$1 path=$2
    shift 2
    status=$(curl --silent --show-error --max-time 30 --request "$method" --header "host: $APP_HOST" \
        --dump-header "$answer/headers" --output "$answer/body" --write-out '%{http_code}' "$@" "$BASE_URL$path")
    headers=$(tr -d '\r' <"$answer/headers")
    body=$(cat "$answer/body" 2>/dev/null || true)
}

# header NAME: the value of a header of the last answer.
header() { sed -n "s/^$1: //Ip" <<<"$headers"; }

# member NAME: a string or number at the top of the last answer's JSON.
member() { sed -nE "s/.*\"$1\":(\"([^\"]*)\"|([0-9]+)).*/\2\3/p" <<<"$body"; }

# listen PATH [curl's options …]: listens from now on, in the background.
listen() {
    local path=$1
    shift
    curl --silent --no-buffer --max-time 30 --header "host: $APP_HOST" --output "$answer/frames" "$@" "$BASE_URL$path" &
    listener=$!
    heard up-to-date
}

# heard TEXT: waits until that was told to who listens, and leaves all that was in $frames.
heard() {
    for _ in $(seq 100); do
        frames=$(cat "$answer/frames" 2>/dev/null || true)
        case $frames in *"$1"*) return ;; esac
        sleep 0.1
    done
    fail "nobody told of $1: $frames"
}

ok() { echo "ok    $*"; }

fail() {
    echo "FAIL  $*"
    printf '      last answer: %s\n' "$status" "$headers" "$body"
    exit 1
} >&2

# is WHAT GOT WANTED
is() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: got \`$2\`, wanted \`$3\`"; fi; }

# has WHAT TEXT PART
has() { case $2 in *"$3"*) ok "$1" ;; *) fail "$1: there is no \`$3\`" ;; esac; }

# has_no WHAT TEXT PART
has_no() { case $2 in *"$3"*) fail "$1: there is \`$3\`" ;; *) ok "$1" ;; esac; }
