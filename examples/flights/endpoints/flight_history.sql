/*
description: The newest flights of one aircraft.
parameters:
  tailnum: {type: string, required: true, max_length: 6, description: The aircraft's tail number}
  limit: {type: integer, ge: 1, le: 1000, default: 50, description: How many flights at most}
examples:
  - {tailnum: N14228, limit: 5}
*/
SELECT f.time_hour, f.carrier, f.flight, f.origin, f.dest, f.dep_delay, f.arr_delay, p.manufacturer, p.model, p.seats
FROM flights AS f
LEFT JOIN planes AS p ON p.tailnum = f.tailnum
WHERE f.tailnum = $tailnum
ORDER BY f.time_hour DESC, f.flight
LIMIT $limit
