-- Returns the lock's value, nil if it is free, and how many living waiters it has.
-- KEYS: lock, waiters
local time, living = redis.call('TIME'), 0
for _, record in ipairs(redis.call('HVALS', KEYS[2])) do
  local alive = tonumber(string.match(record, '^%d+'))
  if alive and alive * 1000 > time[1] * 1000000 + time[2] then
    living = living + 1
  end
end
return {redis.call('GET', KEYS[1]), living}
