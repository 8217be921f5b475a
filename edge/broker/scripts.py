"""What Redis decides by itself, in Lua: each script runs whole, and by Redis's clock. Their keys are in `redis.py`."""

# What every script begins with: the time, leases, and since when this Redis, a run of a process, has been the one that
# is asked. It is marked: another run may be a replica that has taken over, and may not know what the last one granted.
COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function held(value)
  local till, fence, kept, server = string.match(value, '^(%d+) (%d+) (%d) (.*)$')
  return tonumber(till), tonumber(fence), server, kept
end
local function text(number) return string.format('%.0f', number) end
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
local function asked_since(mark)
  local info, marked = redis.call('INFO', 'server'), redis.call('GET', mark)
  local run = string.match(info, 'run_id:(%x+)')
  local known, since = string.match(marked or '', '^(%x+) (%d+)$')
  if known == run and tonumber(since) <= now then return tonumber(since) end
  since = now
  if not marked then since = now - tonumber(string.match(info, 'uptime_in_seconds:(%d+)')) * 1000 end
  redis.call('SET', mark, run .. ' ' .. text(since))
  return since
end
"""

CLAIM = (
    COMMON
    + """
local leases, log, mark = KEYS[1], KEYS[2], KEYS[3]
local room, server, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local value, last, abandoned, kept = redis.call('HGET', leases, room), 0, 0, '0'
local wait = asked_since(mark) + lease - now
if value then
  local till, fence, owner, is_kept = held(value)
  if till > now and owner ~= server then return {owner, text(till - now), text(fence), 0} end
  last, kept = fence, is_kept
  if kept == '1' or owner ~= server then abandoned = 1 end
end
if wait > 0 then return {'', text(wait), '0', 0} end
local logged = top(log)
local fence = math.max(last + 1, logged + 1, time[1] * 1000000 + time[2])
redis.call('HSET', leases, room, text(now + lease) .. ' ' .. text(fence) .. ' ' .. kept .. ' ' .. server)
redis.call('XADD', log, text(fence) .. '-0', 'claimed', server)
return {server, text(lease), text(fence), abandoned}
"""
)

RENEW = (
    COMMON
    + """
local leases, abouts, servers, words, mail, logs = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local server, lease, said = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local kept = {}
asked_since(KEYS[7])
for at = 4, #ARGV, 3 do
  local room, fence, about = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local value, is_kept = redis.call('HGET', leases, room), '0'
  local logged, written = top(logs .. room)
  local known = 0
  if value then
    local _, number, _, before = held(value)
    known, is_kept = number, before
  end
  if known < tonumber(fence) and written > 0 then is_kept = '1' end
  if math.max(known, logged) <= tonumber(fence) then
    redis.call('HSET', leases, room, text(now + lease) .. ' ' .. fence .. ' ' .. is_kept .. ' ' .. server)
    redis.call('HSET', abouts, room, about)
    kept[#kept + 1] = room
  end
end
redis.call('HSET', servers, server, text(now + lease))
redis.call('HSET', words, server, said)
if redis.call('EXISTS', mail) == 0 then redis.call('XADD', mail, '*', 'opened', server) end
redis.call('PEXPIRE', mail, lease)
local found, living = redis.call('HGETALL', servers), {}
for at = 1, #found, 2 do
  if tonumber(found[at + 1]) > now then
    living[#living + 1] = found[at]
    living[#living + 1] = redis.call('HGET', words, found[at]) or ''
  else
    redis.call('HDEL', servers, found[at])
    redis.call('HDEL', words, found[at])
  end
end
return {kept, living}
"""
)

RELEASE = (
    COMMON
    + """
local leases, abouts, log = KEYS[1], KEYS[2], KEYS[3]
local room, fence, handed = ARGV[1], ARGV[2], ARGV[3]
local value = redis.call('HGET', leases, room)
if not value then return end
local _, number, server, kept = held(value)
if text(number) ~= fence then return end
if handed == '1' then
  redis.call('HSET', leases, room, text(now) .. ' ' .. fence .. ' ' .. kept .. ' ' .. server)
else
  redis.call('HDEL', leases, room)
  redis.call('HDEL', abouts, room)
  redis.call('DEL', log)
end
"""
)

LEASE = (
    COMMON
    + """
local room = ARGV[1]
local value = redis.call('HGET', KEYS[1], room)
if not value then return end
local till, fence, server, kept = held(value)
return {room, server, text(fence), text(till - now), redis.call('HGET', KEYS[2], room) or '', kept}
"""
)

LEASES = (
    COMMON
    + """
local leases, abouts, prefix = KEYS[1], KEYS[2], KEYS[3]
local forgotten, lost, left = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local found, all = redis.call('HGETALL', leases), {}
for at = 1, #found, 2 do
  local room = found[at]
  local till, fence, server, kept = held(found[at + 1])
  if till + (kept == '1' and forgotten or lost) < now then
    redis.call('HDEL', leases, room)
    redis.call('HDEL', abouts, room)
    redis.call('DEL', prefix .. room)
  elseif left == '0' or (kept == '1' and till <= now) then
    local about = redis.call('HGET', abouts, room) or ''
    for _, each in ipairs({room, server, text(fence), text(till - now), about, kept}) do all[#all + 1] = each end
  end
end
return all
"""
)

APPEND = (
    COMMON
    + """
local leases, written = KEYS[1], {}
for index = 2, #KEYS do
  local log, at = KEYS[index], 5 * (index - 2)
  local room, fence, number = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local whole, data = ARGV[at + 4], ARGV[at + 5]
  local value, ours = redis.call('HGET', leases, room), tonumber(fence)
  local till, known, server, kept = 0, 0, '', '0'
  if value then till, known, server, kept = held(value) end
  local last, last_number = top(log)
  local what = 'forgotten'
  if math.max(known, last) > ours then
    what = 'refused'
  elseif known == ours and till > now then
    if last == ours and last_number == number then
      what = 'there'
    elseif (last == ours and last_number == number - 1)
        or (whole == '1' and (last < ours or last_number < number)) then
      local id = fence .. '-' .. text(number)
      redis.call('XADD', log, id, 'entry', data)
      if kept ~= '1' then redis.call('HSET', leases, room, text(till) .. ' ' .. fence .. ' 1 ' .. server) end
      if whole == '1' then redis.call('XTRIM', log, 'MINID', id) end
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
  there[at] = redis.call('XADD', KEYS[at], 'NOMKSTREAM', '*', 'letter', ARGV[at]) and 1 or 0
end
return there
"""


LEAVE = """
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
"""

TRIM = "redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])"
