"""What Redis does in one step with the messages of its queues."""

from __future__ import annotations

# A full Redis (maxmemory, noeviction) runs both scripts: it refuses only a script's first write,
# and these begin with one that takes something out.

# Gives a list and its message or, all lists being empty, where each bell stands at that moment.
TAKE = """
local lists = tonumber(ARGV[3])
for number = 1, lists do
  local message = redis.call('RPOP', KEYS[number])
  if message then
    local whole, content = pcall(cjson.decode, message)
    local properties = whole and type(content) == 'table' and content.properties
    local info = type(properties) == 'table' and properties.delivery_info
    if type(info) == 'table' then
      local place = cjson.encode(info.exchange) .. ',' .. cjson.encode(info.routing_key)
      redis.call('ZADD', KEYS[lists + 1], ARGV[2], ARGV[1])
      redis.call('HSET', KEYS[lists + 2], ARGV[1], '[' .. message .. ',' .. place .. ']')
    end
    return {KEYS[number], message}
  end
end
local rung = {}
for number = lists + 3, #KEYS do
  local last = redis.call('XREVRANGE', KEYS[number], '+', '-', 'COUNT', 1)[1]
  rung[#rung + 1] = last and last[1] or '0-0'
end
return {false, rung}
"""
# The third key and each second after it are lists, followed by their bells.
GIVE_BACK = """
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then
  for number = 3, #KEYS, 2 do
    redis.call(ARGV[2], KEYS[number], ARGV[3])
    redis.call('XADD', KEYS[number + 1], 'MAXLEN', 1, '*', 'new', 1)
    redis.call('EXPIRE', KEYS[number + 1], ARGV[4])
  end
end
"""
