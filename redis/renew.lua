-- Extends the lock if owner holds it. Names the lock alone: a script that names
-- several keys is refused while a cluster moves their slot.
-- ARGV: owner, ttl ms. Returns 1, or 0 if owner does not hold the lock.
local own, value = 'locker:' .. ARGV[1] .. ' ', redis.pcall('GET', KEYS[1])
if type(value) ~= 'string' or string.sub(value, 1, #own) ~= own then
  return 0
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
