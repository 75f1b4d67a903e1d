-- Joins a partial record into the stored one, and keeps its terms: what there is to do when nothing is stored yet.
-- `record.lua` and `join.lua` follow it.
--
-- KEYS: the record, what the keys of its terms begin with. There is no key of that second name, and therefore a cluster
-- refuses the script (TRYAGAIN) while it moves their slot, when some of the sets may be on one node and some on another.
-- ARGV: the partial record, its id, when its outcome ends (milliseconds, or empty), the time of its last change
-- (microseconds), the channel to tell on that it is finished (or empty), its card, and its terms, the state's first.
-- Returns 1, or 0 when everything was known.
local call = redis.call
local key, base = KEYS[1], KEYS[2]
local delta, id, ends, score, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local clock = call('TIME')
clock = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Adds to a sorted set that lasts a little longer than until `till` (nil: for ever). The little saves later ones from
-- extending it again each time. Sets that last for ever, for a record without an end is in them, are noted in `lasting`,
-- by how long they would last for their other records.
local function put(set, at, member, till)
  local left = call('PTTL', base .. set)
  local ends = till and till + math.ceil((till - clock) / 8)
  call('ZADD', base .. set, at, member)
  if not till then
    if left >= 0 then call('PERSIST', base .. set) end
    if left ~= -1 then call('ZADD', base .. 'lasting', math.max(clock + left, 0), set) end
  elseif left == -1 then
    call('ZADD', base .. 'lasting', 'GT', ends, set)
  elseif clock + left < till then
    call('PEXPIREAT', base .. set, ends)
  end
end

-- The cards outlast every other set, for without them nobody knows what is to leave those.
local function put_card(card, at, till)
  put('expiry', at, card, till and till + math.ceil((till - clock) / 8))
end

-- Of states that are not known by name there is a note, so that all records are found by their states.
local KNOWN = '\nPENDING\nQUEUED\nRECEIVED\nSTARTED\nRETRY\nREVOKED\nFAILURE\nSUCCESS\n'
local function note_state(term, till)
  local state = string.sub(term, 7)
  if not string.find(KNOWN, '\n' .. state .. '\n', 1, true) then put('states', 0, state, till) end
end

if channel ~= '' then call('PUBLISH', channel, id) end
local stored = call('GET', key)
local till = ends ~= '' and tonumber(ends) or nil
if not stored then
  if not till then
    call('SET', key, delta)
  elseif till > clock then
    call('SET', key, delta, 'PXAT', ends)
  else
    return 1
  end
  for i = 7, #ARGV do put(ARGV[i], score, id, till) end
  note_state(ARGV[7], till)
  put_card(ARGV[6], till or '+inf', till)
  return 1
end
