-- What the scripts on records share.
--
-- A record is the text of one JSON object. Its registers are the lines of that text, in this order: id, outcome,
-- request, queued_at, progress, metadata, history; a register of which nothing is known is an empty line. What the
-- parts of a register begin with (\r) and its items are separated by (\t) are control characters too: JSON text has
-- none of its own. So a register is taken, compared and put elsewhere without reading the values in it.
--
-- A term is what a record is found by: `state:SUCCESS`, or `metadata.user:42` for a declared path. Each term is a
-- sorted set of ids by the time of the record's last change. The set `expiry` has the card of each record, which is all
-- of its terms and its id, by the time at which the record ends: that is how it leaves the others.
local call, find, match, sub, byte = redis.call, string.find, string.match, string.sub, string.byte
local base = KEYS[2]
local TERMS = {state = true, worker = true, name = true, queue = true, parent_id = true, root_id = true, group_id = true}

-- Where the JSON text ends that begins before `from`: the place of its closing quote.
local function closing(text, from)
  local quote = find(text, '"', from, true)
  while true do
    local slash = quote - 1
    while byte(text, slash) == 92 do slash = slash - 1 end
    if (quote - slash) % 2 == 1 then return quote end
    quote = find(text, '"', quote + 1, true)
  end
end

-- Adds the texts of the JSON array that begins at `from` to `terms`.
local function add_listed(text, from, terms)
  while byte(text, from + 1) == 34 do
    local quote = closing(text, from + 2)
    terms[#terms + 1] = sub(text, from + 2, quote - 1)
    from = quote + 1
  end
end

-- Adds what a register begins with, behind its order, to `terms`.
local function add_terms(line, from, own, terms)
  while true do
    local field, value = match(line, '^,"([%l_]+)":"()', from)
    if not TERMS[field] then break end
    local quote = closing(line, value)
    local text = sub(line, value, quote - 1)
    if field ~= 'root_id' or text ~= own then terms[#terms + 1] = field .. ':' .. text end
    from = quote + 1
  end
  local list = match(line, '^,"%l+_index":()%[', from)
  if list then add_listed(line, list, terms) end
end

local function terms_of(id, outcome, request, progress, metadata)
  local terms, own = {}, sub(id, 8, -2)
  add_terms(outcome, match(outcome, '^,"state_order":"%d*"()'), own, terms)
  if request ~= '' then add_terms(request, match(request, '^,"request_order":%-?%d+()'), own, terms) end
  if progress ~= '' then add_terms(progress, match(progress, '^,"progress_order":"%d*"()'), own, terms) end
  local index = match(metadata, '\r,"metadata_index":{(.*)}$')
  if index then
    for list in string.gmatch(index, '[^\t]+') do
      -- Behind the first item each begins with a comma.
      local name = byte(list, 1) == 44 and 3 or 2
      add_listed(list, closing(list, name) + 2, terms)
    end
  end
  return terms
end

local LINES = '^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n}$'

local function terms_in(record)
  local id, outcome, request, _, progress, metadata = match(record, LINES)
  return id and terms_of(id, outcome, request, progress, metadata) or {}
end

-- No term holds a line feed; an id may.
local function card_of(terms, id)
  return table.concat(terms, '\n') .. '\n\n' .. id
end

local function terms_on(card)
  local blank = find(card, '\n\n', 1, true)
  local terms = {}
  for term in string.gmatch(sub(card, 1, blank), '[^\n]+') do terms[#terms + 1] = term end
  return terms, sub(card, blank + 2)
end

-- Once no record without an end is left, the sets that lasted for ever for such a one get the end that they would have
-- without it. So the cards outlast every other set here too, those of records that have ended but are still in some.
local function end_the_lasting(clock)
  if call('ZREVRANGE', base .. 'expiry', 0, 0, 'WITHSCORES')[2] == 'inf' then return end
  local sets = call('ZRANGE', base .. 'lasting', 0, -1, 'WITHSCORES')
  for i = 1, #sets, 2 do
    call('PEXPIREAT', base .. sets[i], math.max(tonumber(sets[i + 1]), clock + 1))
  end
  call('DEL', base .. 'lasting')
end
