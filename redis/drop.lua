-- release.lua for the time in which a cluster moves the slot: the lock alone.
-- ARGV: owner. Returns 1, or 0 if owner does not hold the lock.
local own, value = 'locker:' .. ARGV[1] .. ' ', redis.pcall('GET', KEYS[1])
if type(value) ~= 'string' or string.sub(value, 1, #own) ~= own then
  return 0
end
return redis.call('DEL', KEYS[1])
