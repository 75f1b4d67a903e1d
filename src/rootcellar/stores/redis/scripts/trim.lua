-- Takes records that have ended out of the sets of their terms.
--
-- KEYS: what the keys of the shard's records begin with, what the keys of their terms begin with. ARGV: how many at
-- most, the time (milliseconds; by default the server's, which has removed the records themselves already).
-- Returns how many were taken out, and how many of these were still there.
local limit, clock = ARGV[1], ARGV[2]
if not clock then
  clock = call('TIME')
  clock = clock[1] * 1000 + math.floor(clock[2] / 1000)
end
local cards = call('ZRANGEBYSCORE', base .. 'expiry', '-inf', '(' .. clock, 'LIMIT', 0, limit)
local removed = 0
for _, card in ipairs(cards) do
  local terms, id = terms_on(card)
  local stored = call('GET', KEYS[1] .. id)
  local stays = {}
  if stored then
    local current = terms_in(stored)
    if card_of(current, id) == card then
      removed = removed + call('DEL', KEYS[1] .. id)
    else
      -- A task of this id came again: what it is found by now is not touched.
      for i = 1, #current do stays[current[i]] = true end
    end
  end
  for i = 1, #terms do
    if not stays[terms[i]] then call('ZREM', base .. terms[i], id) end
  end
  call('ZREM', base .. 'expiry', card)
end
return {#cards, removed}
