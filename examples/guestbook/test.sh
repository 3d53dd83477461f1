#!/usr/bin/env bash
# Calls the deployed app and checks what it answers.
APP_HOST=${APP_HOST:-guestbook.localhost}
source "$(dirname "$0")/../expect.sh"

mark="mark-$RANDOM$RANDOM"

call GET /
is 'shows its page' "$status $(header content-type)" '200 text/html; charset=utf-8'
has 'with a form' "$body" '<form method="post" action="/">'
has 'that no script can be put into' "$(header content-security-policy)" "default-src 'none'"

call POST / --data-urlencode "name=Ada & Co" --data-urlencode "message=$mark <script>alert(1)</script>"
is 'takes an entry and shows the page anew' "$status $(header location)" '303 /'
call GET /
has 'shows the entry' "$body" "$mark &lt;script&gt;alert(1)&lt;/script&gt;"
has 'and who wrote it' "$body" '<b>Ada &amp; Co</b>'
has_no 'but runs nothing' "$body" '<script'

# Eleven more: the first one is on the second page then.
for number in $(seq 11); do
    call POST / --data-urlencode 'name=Grace' --data-urlencode "message=$mark number $number"
done
call GET /
has_no 'pushes old entries off the first page' "$body" "$mark &lt;script"
newest=$(grep -o "$mark number [0-9]*" <<<"$body" | head -1)
is 'shows the newest first' "$newest" "$mark number 11"
older=$(sed -n 's/.*href="\(\/?after=[^"]*\)".*/\1/p' <<<"$body")
call GET "$older"
has 'and old ones on the next' "$body" "$mark &lt;script"
has 'with a way back' "$body" '<a href="/">Newest</a>'

call POST / --data-urlencode 'name= ' --data-urlencode 'message="so far"'
is 'asks for a name' "$status" 422
has 'and keeps what was written' "$body" '&quot;so far&quot;</textarea>'
call POST / --data-urlencode 'name=Ada' --data-urlencode "message=$(printf 'x%.0s' {1..1001})"
is 'asks for less' "$status" 422
call POST / --header 'content-type: application/json' --data '[1]'
is 'asks for a form' "$status" 422
call GET '/?after=%00nonsense&after=twice'
is 'shows the first page when there is no such other' "$status" 200
