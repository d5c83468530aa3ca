-- The first part of lock.lua and release.lua.
-- Numbers above 10^14 leave Lua through int(): tostring and .. would round them.
local lock, queue, waiters, fence, gone = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local owner = ARGV[1]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] -- µs

local function int(n)
  return string.format('%.0f', n)
end

-- The lock's value begins with its owner; the token and the note follow.
local function id(of)
  return 'locker:' .. of .. ' '
end

-- held returns owner's token, or nil if owner does not hold the lock.
local function held()
  local value, own = redis.pcall('GET', lock), id(owner)
  if type(value) == 'string' and string.sub(value, 1, #own) == own then
    return string.match(value, '^%d+', #own + 1)
  end
end

-- grant gives the free lock away. The fence goes first: if the rest fails, a
-- token was skipped and nothing else happened. It expires an hour after both
-- the clock and the token, so a larger token follows even then.
local function grant(to, ms, note)
  local token = math.max(now, (tonumber(redis.call('GET', fence) or 0) or 0) + 1)
  redis.call('SET', fence, int(token), 'PX', int((token - now) / 1000 + 3600000))
  redis.call('SET', lock, id(to) .. int(token) .. ' ' .. note, 'PX', ms)
  return int(token)
end

local function dequeue(who)
  redis.call('ZREM', queue, who)
  redis.call('HDEL', waiters, who)
end

-- settle drops the dead from the head of the queue and gives a free lock to the
-- first who lives, for the claim TTL, with a push unless it is owner itself.
local function settle()
  local head, claim, publish, channel, note
  repeat
    head = redis.call('ZRANGE', queue, 0, 0)[1]
    if not head then
      return
    end
    local alive
    alive, claim, publish, channel, note =
      string.match(redis.call('HGET', waiters, head) or '', '^(%d+) (%d+) (%u+) (%S+) (.*)$')
    local lives = alive and tonumber(alive) * 1000 > now
    if not lives then
      dequeue(head)
    end
  until lives
  if redis.call('EXISTS', lock) == 1 then
    return
  end
  local token = grant(head, claim, note)
  dequeue(head)
  if head ~= owner then
    redis.pcall(publish, channel, head .. ' ' .. token .. ' ' .. int(now) .. ' ' .. claim)
  end
end
