-- Takes the lock, or a place in the queue. Idempotent by owner.
-- ARGV: owner, ttl ms, claim ms, '1' to wait, place in the queue or 0,
--       PUBLISH or SPUBLISH, channel, note
-- Returns granted   token  µs  ms left
--         queued    place  µs  ms left  rank  1 if the holder is foreign
--         locked    0      µs  ms left
--         withdrawn
local ttl, claim, wait, place = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local note = ARGV[8]

-- enqueue says that owner lives, and queues it if it is not queued: where it
-- was before, or at the end.
local function enqueue()
  local queued = redis.call('ZSCORE', queue, owner)
  if queued then
    -- Redis allows this write when its memory is full, and after it all others:
    -- only those who are new are turned away.
    redis.call('PEXPIRE', queue, math.max(claim, redis.call('PTTL', queue)))
    place = tonumber(queued)
  end
  redis.call('HSET', waiters, owner,
    int(now / 1000 + claim) .. ' ' .. ARGV[3] .. ' ' .. ARGV[6] .. ' ' .. ARGV[7] .. ' ' .. note)
  if not queued then
    if place == 0 then
      local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
      place = math.max(now, (tonumber(last or 0) or 0) + 1)
    end
    redis.call('ZADD', queue, int(place), owner)
  end
  for _, key in ipairs({queue, waiters}) do
    if redis.call('PTTL', key) < claim then
      redis.call('PEXPIRE', key, claim)
    end
  end
end

-- Most often there is nothing: no tombstone, no queue, no lock of any kind.
if redis.call('EXISTS', gone, queue, lock) == 0 then
  return {'granted', grant(owner, ttl, note), int(now), ttl}
end

if redis.call('EXISTS', gone) == 1 then
  return {'withdrawn'}
end

local value = redis.call('GET', lock)
if not held() then
  if value or redis.call('EXISTS', queue) == 1 then
    if wait then
      enqueue()
    end
    settle()
    value = redis.call('GET', lock)
  end
  if not value then
    return {'granted', grant(owner, ttl, note), int(now), ttl}
  end
end

local token, left = held(), redis.call('PTTL', lock)
if token then
  if left < ttl then -- never lower it
    redis.call('PEXPIRE', lock, ttl)
    left = ttl
  end
  dequeue(owner)
  return {'granted', token, int(now), left}
end
if not wait then
  return {'locked', '0', int(now), left}
end
local foreign = string.sub(value, 1, 7) ~= 'locker:'
return {'queued', int(place), int(now), left, redis.call('ZRANK', queue, owner), foreign and 1 or 0}
