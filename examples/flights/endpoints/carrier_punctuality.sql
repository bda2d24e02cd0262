/*
description: How punctual each airline was in a period, the worst first.
parameters:
  first: {type: date, required: true, description: The first local day}
  last: {type: date, required: true, description: The last local day}
  origin: {type: string, values: [EWR, JFK, LGA], description: Only flights from this airport}
examples:
  - {first: 2013-07-01, last: 2013-07-31}
*/
SELECT
  coalesce(a.name, f.carrier) AS airline,
  count(*) AS flights,
  round(avg(f.dep_delay), 1) AS mean_delay,
  round(avg(CASE WHEN f.dep_delay > 15 THEN 1.0 ELSE 0.0 END) FILTER (f.dep_delay IS NOT NULL), 4) AS late_share
FROM flights AS f
LEFT JOIN airlines AS a ON a.carrier = f.carrier
WHERE make_date(f.year, f.month, f.day) BETWEEN $first AND $last AND ($origin IS NULL OR f.origin = $origin)
GROUP BY airline
HAVING count(f.dep_delay) > 0
ORDER BY mean_delay DESC, airline
