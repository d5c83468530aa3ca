-- Releases the lock if owner holds it, or owner's place in the queue.
-- ARGV: owner, ms for which a request of owner that is still on its way finds a
--       tombstone, or 0
-- Returns 1 if owner held the lock, else 0.
-- The DEL comes first: after a write, Redis lets a script go on when memory is full.
local was = held()
if was then
  redis.call('DEL', lock)
  if ARGV[2] == '0' and redis.call('EXISTS', queue) == 0 then
    return 1 -- most often nobody waits
  end
end
dequeue(owner)
if ARGV[2] ~= '0' then
  redis.call('SET', gone, '1', 'PX', ARGV[2])
end
settle()
return was and 1 or 0
