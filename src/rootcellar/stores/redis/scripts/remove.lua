-- Removes a record and its terms.
--
-- KEYS: the record, what the keys of its terms begin with. ARGV: its id. Returns how many there were.
local id = ARGV[1]
local stored = call('GET', KEYS[1])
if not stored then return 0 end
local terms = terms_in(stored)
local endless = call('PTTL', KEYS[1]) == -1
for i = 1, #terms do call('ZREM', base .. terms[i], id) end
call('ZREM', base .. 'expiry', card_of(terms, id))
if endless then
  local clock = call('TIME')
  end_the_lasting(clock[1] * 1000 + math.floor(clock[2] / 1000))
end
return call('DEL', KEYS[1])
