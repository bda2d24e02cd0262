/*
description: The airports that most flights go to, and how late they arrive there.
parameters:
  first: {type: date, required: true, description: The first local day}
  last: {type: date, required: true, description: The last local day}
  origin: {type: string, values: [EWR, JFK, LGA], description: Only flights from this airport}
  limit: {type: integer, ge: 1, le: 200, default: 25, description: How many airports at most}
examples:
  - {first: 2013-07-01, last: 2013-07-31, limit: 10}
*/
SELECT
  f.dest AS code,
  coalesce(a.name, f.dest) AS airport,
  count(*) AS flights,
  round(avg(f.arr_delay), 1) AS mean_arrival_delay,
  round(avg(CASE WHEN f.dep_delay IS NULL THEN 1.0 ELSE 0.0 END), 4) AS cancelled_share
FROM flights AS f
LEFT JOIN airports AS a ON a.faa = f.dest
WHERE make_date(f.year, f.month, f.day) BETWEEN $first AND $last AND ($origin IS NULL OR f.origin = $origin)
GROUP BY f.dest, airport
ORDER BY flights DESC, code
LIMIT $limit
