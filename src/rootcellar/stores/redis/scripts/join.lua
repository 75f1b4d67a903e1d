-- Joins a partial record into the stored one: what `merge.lua` leaves to do when there is one.
local own, outcome, request, queued, progress, metadata, history = match(stored, LINES)
if not own then return redis.error_reply('UNREADABLE ' .. key) end
local _, d_outcome, d_request, d_queued, d_progress, d_metadata, d_history = match(delta, LINES)
local before = terms_of(own, outcome, request, progress, metadata)

-- Whether text `a` comes before text `b`, byte by byte: the order of `<` depends on the server's locale.
local function precedes(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- outcome: the greater order, but a stored success stays. Orders are digits.
local OUTCOME = '^,"state_order":"(%d*)","state":"([^"]*)'
local order, state = match(outcome, OUTCOME)
local newer = state ~= 'SUCCESS' and match(d_outcome, OUTCOME) > order
if newer then outcome = d_outcome end

local function request_order(line)
  return tonumber(match(line, '^,"request_order":(%-?%d+)') or -1)
end
if request_order(d_request) > request_order(request) then request = d_request end

if d_queued ~= '' and (queued == '' or d_queued < queued) then queued = d_queued end

local function progress_order(line)
  return match(line, '^,"progress_order":"(%d*)') or ''
end
if progress_order(d_progress) > progress_order(progress) then progress = d_progress end

-- metadata: key by key, the greater stamp
local function items(line)
  local found, order = {}, {}
  local parts = {}
  for part in string.gmatch(line, '[^\r]+') do parts[#parts + 1] = string.gmatch(match(part, '^[^{]*{(.*)}$'), '[^\t]+') end
  for stamp in parts[2] do
    -- Behind the first item each begins with a comma.
    local from = byte(stamp, 1) == 44 and 2 or 1
    local quote = closing(stamp, from + 1)
    local name = sub(stamp, from, quote)
    local value, index = parts[1](), parts[3] and parts[3]()
    order[#order + 1] = name
    found[name] = {
      stamp = sub(stamp, quote + 3, -2),
      value = sub(value, byte(value, 1) == 44 and 2 or 1),
      index = index and sub(index, byte(index, 1) == 44 and 2 or 1),
    }
  end
  return found, order
end

local function join_metadata(mine, theirs)
  local found, order = items(mine)
  local added, names = items(theirs)
  for _, name in ipairs(names) do
    local known = found[name]
    if not known then order[#order + 1] = name end
    if not known or precedes(known.stamp, added[name].stamp) then found[name] = added[name] end
  end
  local values, stamps, indexes, indexed = {}, {}, {}, false
  for i, name in ipairs(order) do
    local item = found[name]
    values[i] = item.value
    stamps[i] = name .. ':"' .. item.stamp .. '"'
    indexes[i] = item.index or name .. ':[]'
    indexed = indexed or item.index
  end
  return ',"metadata":{' .. table.concat(values, '\t,') .. '}\r,"metadata_order":{' .. table.concat(stamps, '\t,')
    .. '}' .. (indexed and '\r,"metadata_index":{' .. table.concat(indexes, '\t,') .. '}' or '')
end

if metadata == '' then
  metadata = d_metadata
elseif d_metadata ~= '' and d_metadata ~= metadata then
  metadata = join_metadata(metadata, d_metadata)
end

-- history: the union, sorted, the newest of it
local HISTORY_LIMIT = 100

local function entries(line)
  local found = {}
  for text in string.gmatch(sub(line, 13, -2), '[^\t]+') do
    local entry = sub(text, byte(text, 1) == 44 and 2 or 1)
    local read = cjson.decode(entry)
    -- Of fixed length, so that their order as text is that in time.
    local at = #read.at == 20 and sub(read.at, 1, 19) .. '.000000Z' or read.at
    found[#found + 1] = {text = entry, attempt = read.attempt or 0, at = at, state = read.state, worker = read.worker or ''}
  end
  return found
end

local function earlier(a, b)
  if a.attempt ~= b.attempt then return a.attempt < b.attempt end
  if a.at ~= b.at then return a.at < b.at end
  if a.state ~= b.state then return precedes(a.state, b.state) end
  return precedes(a.worker, b.worker)
end

local function join_histories(mine, theirs)
  local known, all = {}, {}
  for _, list in ipairs({entries(mine), entries(theirs)}) do
    for _, entry in ipairs(list) do
      local name = entry.attempt .. '\n' .. entry.at .. '\n' .. #entry.state .. entry.state .. entry.worker
      if not known[name] then all[#all + 1] = entry end
      known[name] = true
    end
  end
  table.sort(all, earlier)
  local texts = {}
  for i = math.max(1, #all - HISTORY_LIMIT + 1), #all do texts[#texts + 1] = all[i].text end
  return ',"history":[' .. table.concat(texts, '\t,') .. ']'
end

-- Whether `long` has all that `short` has, and more behind it: a worker knows what the publisher has written.
local function continues(long, short)
  return #long > #short and byte(long, #short) == 9 and sub(long, 1, #short - 1) == sub(short, 1, -2)
end

if history == '' or continues(d_history, history) then
  history = d_history
elseif d_history ~= '' and d_history ~= history and not continues(history, d_history) then
  history = join_histories(history, d_history)
end

local joined = table.concat({own, outcome, request, queued, progress, metadata, history, '}'}, '\n')
if joined == stored then return 0 end

local left = call('PTTL', key)
if not newer then till = left >= 0 and clock + left or nil end
local after = terms_of(own, outcome, request, progress, metadata)
if till and till <= clock then
  call('DEL', key)
  after = {}
elseif not newer then
  call('SET', key, joined, 'KEEPTTL')
elseif till then
  call('SET', key, joined, 'PXAT', ends)
else
  call('SET', key, joined)
end

local old_card, new_card = card_of(before, id), card_of(after, id)
local stays, known = {}, {}
for i = 1, #after do stays[after[i]] = true end
-- An outcome that stays was last changed when it says, and ends then; only a set that was evicted does not know.
local end_score = till or '+inf'
if not newer then
  score = call('ZSCORE', base .. before[1], id) or score
  end_score = call('ZSCORE', base .. 'expiry', old_card) or end_score
end
if newer or old_card ~= new_card then call('ZREM', base .. 'expiry', old_card) end
for i = 1, #before do
  known[before[i]] = true
  if not stays[before[i]] then call('ZREM', base .. before[i], id) end
end
for i = 1, #after do
  if newer or not known[after[i]] then put(after[i], score, id, till) end
end
if newer and #after > 0 then note_state(after[1], till) end
if (newer or old_card ~= new_card) and #after > 0 then put_card(new_card, end_score, till) end
if left == -1 and till then end_the_lasting(clock) end
return 1
