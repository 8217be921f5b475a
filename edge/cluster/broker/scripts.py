"""The Lua scripts of the Redis broker. Each runs atomically, by Redis's clock. `redis.py` describes the keys."""

# The beginning of most scripts. `lease` and `server_of` read values of the hashes `leases` and `servers`. They treat a
# value that edge has not written as missing. `top` reads the fence and the number of the newest entry of a journal.
COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
local function lease(value)
  local fence, kept, claim, server = string.match(value or '', '^(%d+) (%d) (%d+) (.*)$')
  if not fence then return 0, '0', '0', '' end
  return tonumber(fence), kept, claim, server
end
local function lease_of(fence, kept, claim, server) return table.concat({text(fence), kept, claim, server}, ' ') end
local function server_of(value)
  local till, since, oldest = string.match(value or '', '^(%d+) (%d+) (%d+)')
  if not till then return 0, 0, 0 end
  return tonumber(till), tonumber(since), tonumber(oldest)
end
local function top(log)
  local found = redis.pcall('XINFO', 'STREAM', log)
  if found.err then return 0, 0 end
  for at = 1, #found, 2 do
    if found[at] == 'last-generated-id' then
      local fence, number = string.match(found[at + 1], '^(%d+)-(%d+)$')
      return tonumber(fence), tonumber(number)
    end
  end
end
"""

# `marked` returns the run id of this Redis process and the time at which a script first found this id, and stores both
# under the key. If the stored run id differs, Redis has restarted, or a replica has taken over. This process may then
# lack the newest claims. If the key is missing, Redis is new, or has lost all data.
MARK = """
local function marked(key)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local known, since = string.match(redis.call('GET', key) or '', '^(%x+) (%d+)$')
  if known == run and tonumber(since) <= now then return run, tonumber(since) end
  redis.call('SET', key, run .. ' ' .. text(now))
  return run, now
end
"""

CLAIM = (
    COMMON
    + MARK
    + """
local leases, servers, log, mark, left, lost = unpack(KEYS)
local room, server, length, number, oldest = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local till, since, given_up = server_of(redis.call('HGET', servers, server))
if till <= now or number < given_up then return {'', '0', '0', 0} end
if oldest > given_up then
  redis.call('HSET', servers, server, table.concat({text(till), text(since), text(oldest)}, ' '))
end
local value = redis.call('HGET', leases, room)
local last, kept, _, owner = lease(value)
if owner ~= '' and owner ~= server then
  local theirs = server_of(redis.call('HGET', servers, owner))
  if theirs > now then return {owner, text(theirs - now), text(last), 0} end
end
local _, began = marked(mark)
if began + length > now then return {'', text(began + length - now), '0', 0} end
local abandoned = 0
if value and kept ~= '2' and (kept == '1' or owner ~= server) then abandoned = 1 end
if kept ~= '1' then kept = '0' end
local logged = top(log)
local fence = math.max(last + 1, logged + 1, time[1] * 1000000 + time[2])
redis.call('HSET', leases, room, lease_of(fence, kept, ARGV[4], server))
if value then
  redis.call('ZREM', left, room)
  redis.call('ZREM', lost, room)
end
redis.call('XADD', log, text(fence) .. '-0', 'claimed', server)
return {server, text(till - now), text(fence), abandoned}
"""
)

RENEW = (
    COMMON
    + MARK
    + """
local leases, abouts, servers, words, mailbox, mark, left, lost = unpack(KEYS)
local server, length, number, oldest, said = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local till, since, given_up = server_of(redis.call('HGET', servers, server))
if number < given_up then return {'', {}, {}, {}} end
if till <= now then since = now end
local state = {text(now + length), text(since), text(math.max(oldest, given_up))}
redis.call('HSET', servers, server, table.concat(state, ' '))
if said ~= redis.call('HGET', words, server) then redis.call('HSET', words, server, said) end
if redis.call('EXISTS', mailbox) == 0 then redis.call('XADD', mailbox, '*', 'opened', server) end
redis.call('PEXPIRE', mailbox, length)
local refused, forgotten = {}, {}
local function keep(log, room, fence, about, entries)
  local known, kept, claim = lease(redis.call('HGET', leases, room))
  local logged, written = top(log)
  if math.max(known, logged) > fence then
    refused[#refused + 1] = room
    return
  end
  if known < fence then
    claim = '0'
    if written > 0 then kept = '1' end
  end
  redis.call('HSET', leases, room, lease_of(fence, kept, claim, server))
  redis.call('HSET', abouts, room, about)
  redis.call('ZREM', left, room)
  redis.call('ZREM', lost, room)
  if entries > 0 and (logged < fence or written < entries) then forgotten[#forgotten + 1] = room end
end
local function let_go(log, room, fence, kept, claim, hand_over)
  if hand_over and kept ~= '2' then
    redis.call('HSET', leases, room, lease_of(fence, kept, claim, ''))
    redis.call('ZADD', kept == '1' and left or lost, now, room)
  else
    redis.call('HDEL', leases, room)
    redis.call('HDEL', abouts, room)
    redis.call('DEL', log)
  end
end
for index = 9, #KEYS do
  local at, log = 6 * (index - 9) + 5, KEYS[index]
  local wish, room, fence, about = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4]
  if wish == 'keep' then
    keep(log, room, fence, about, tonumber(ARGV[at + 5]))
  else
    local known, kept, claim, owner = lease(redis.call('HGET', leases, room))
    local ours = owner == server and (known == fence or (fence == 0 and claim == ARGV[at + 6]))
    if ours and wish == 'tell' then
      redis.call('HSET', abouts, room, about)
    elseif ours then
      let_go(log, room, known, kept, claim, wish == 'hand over')
    end
  end
end
local found, living = redis.call('HGETALL', servers), {}
for at = 1, #found, 2 do
  if server_of(found[at + 1]) > now then
    living[#living + 1] = found[at]
    living[#living + 1] = redis.call('HGET', words, found[at]) or ''
  end
end
local run, began = marked(mark)
return {table.concat({run, text(began), text(since)}, ' '), living, refused, forgotten}
"""
)

SERVERS = COMMON + "return {text(now), redis.call('HGETALL', KEYS[1])}"

# Marks the given rooms of a server that is gone as abandoned.
ABANDON = (
    COMMON
    + """
local leases, servers, left, lost = unpack(KEYS)
local gone = server_of(redis.call('HGET', servers, ARGV[1]))
if gone > now then return end
for at = 2, #ARGV do
  local fence, kept, claim, server = lease(redis.call('HGET', leases, ARGV[at]))
  if server == ARGV[1] then
    redis.call('HSET', leases, ARGV[at], lease_of(fence, kept, claim, ''))
    redis.call('ZADD', kept == '1' and left or lost, gone, ARGV[at])
  end
end
"""
)

# Records that a server is gone, and that all its rooms are already marked as abandoned. If the server has been gone
# for longer than the given time, the script deletes the record of the server.
SWEPT = (
    COMMON
    + """
local servers, words = unpack(KEYS)
local server, forgotten = ARGV[1], tonumber(ARGV[2])
local value = redis.call('HGET', servers, server)
local till, since, oldest = server_of(value)
if not value or till > now then return end
redis.call('HDEL', words, server)
if till + forgotten < now then
  redis.call('HDEL', servers, server)
else
  redis.call('HSET', servers, server, table.concat({text(till), text(since), text(oldest), 'swept'}, ' '))
end
"""
)

# Deletes those of the given rooms that have been abandoned for longer than the given time.
FORGET = (
    COMMON
    + """
local leases, abouts, left = unpack(KEYS)
for index = 4, #KEYS do
  local room = ARGV[index - 2]
  local since = redis.call('ZSCORE', left, room)
  if since and tonumber(since) + tonumber(ARGV[1]) < now then
    redis.call('ZREM', left, room)
    redis.call('HDEL', leases, room)
    redis.call('HDEL', abouts, room)
    redis.call('DEL', KEYS[index])
  end
end
"""
)

LEASE = (
    COMMON
    + """
local leases, abouts, servers = unpack(KEYS)
local room = ARGV[1]
local value = redis.call('HGET', leases, room)
if not value then return end
local fence, kept, _, server = lease(value)
local till = now
if server ~= '' then till = server_of(redis.call('HGET', servers, server)) end
return {room, server, text(fence), text(till - now), redis.call('HGET', abouts, room) or '', kept}
"""
)

APPEND = (
    COMMON
    + """
local leases, servers, written = KEYS[1], KEYS[2], {}
for index = 3, #KEYS do
  local log, at = KEYS[index], 5 * (index - 3)
  local room, ours, number, kind, data = unpack(ARGV, at + 1, at + 5)
  local fence, kept, claim, server = lease(redis.call('HGET', leases, room))
  local last, last_number = top(log)
  ours, number = tonumber(ours), tonumber(number)
  local what = 'forgotten'
  if math.max(fence, last) > ours then
    what = 'refused'
  elseif fence == ours and server_of(redis.call('HGET', servers, server)) > now then
    if last == ours and last_number == number then
      what = 'there'
    elseif (last == ours and last_number == number - 1)
        or (kind ~= 'news' and (last < ours or last_number < number)) then
      local id = text(ours) .. '-' .. text(number)
      if kind == 'over' then redis.call('XADD', log, id, 'over', '') else redis.call('XADD', log, id, 'entry', data) end
      if kind ~= 'news' then redis.call('XTRIM', log, 'MINID', id) end
      local keeps = kind == 'over' and '2' or '1'
      if kept ~= keeps then redis.call('HSET', leases, room, lease_of(fence, keeps, claim, server)) end
      what = 'there'
    end
  end
  written[#written + 1] = what
end
return written
"""
)

POST = """
local there = {}
for at = 1, #KEYS do
  there[at] = redis.call('XADD', KEYS[at], 'NOMKSTREAM', '*', 'batch', ARGV[at]) and 1 or 0
end
return there
"""

LEAVE = (
    COMMON
    + """
local servers, mailbox = unpack(KEYS)
local value = redis.call('HGET', servers, ARGV[1])
redis.call('DEL', mailbox)
if value then
  local _, since, oldest = server_of(value)
  redis.call('HSET', servers, ARGV[1], table.concat({text(now), text(since), text(oldest)}, ' '))
end
"""
)

TRIM = "redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])"
