/*
description: How punctual each airline is, the worst first.
columns:
  carrier: string
  airline: string
  flights: integer
  cancelled: integer
  mean_departure_delay: number
  late_share: number
key: [carrier]
parameters:
  origin: {type: string, values: [EWR, JFK, LGA], description: Only flights from this airport}
  month: {type: integer, ge: 1, le: 12, description: Only flights of this month}
examples:
  - {origin: JFK}
*/
SELECT
  f.carrier,
  a.name AS airline,
  count(*) AS flights,
  count(*) FILTER (f.dep_time IS NULL) AS cancelled,
  round(avg(f.dep_delay), 2) AS mean_departure_delay,
  round(avg(CASE WHEN f.dep_delay > 15 THEN 1.0 ELSE 0.0 END) FILTER (f.dep_delay IS NOT NULL), 4) AS late_share
FROM flights AS f
LEFT JOIN airlines AS a ON a.carrier = f.carrier
WHERE ($origin IS NULL OR f.origin = $origin)
  AND ($month IS NULL OR f.month = $month)
GROUP BY f.carrier, a.name
ORDER BY mean_departure_delay DESC, f.carrier
