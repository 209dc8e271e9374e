#!/bin/sh
# One line is added per visit; the volume keeps them. An append is atomic, so no lock is needed.
echo "$REMOTE_ADDR" >>/data/visits
visits=$(wc -l </data/visits)
if [ -n "$GREETING_SECRET" ]; then
  secret="set, sha256 $(printf %s "$GREETING_SECRET" | sha256sum | cut -c1-64)"
else
  secret="not set"
fi
printf 'Content-Type: text/plain\r\nCache-Control: no-store\r\n\r\n'
printf 'Hello from a confidential VM.\nvisits: %s\nsecret: %s\n' "$visits" "$secret"
