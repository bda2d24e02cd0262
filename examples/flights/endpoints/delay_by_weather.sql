/*
description: Mean departure delay by visibility, flights joined with the weather of their hour.
parameters:
  origin: {type: string, values: [EWR, JFK, LGA], description: Only flights from this airport}
*/
SELECT
  CASE WHEN w.visib < 1 THEN 'under 1 mile' WHEN w.visib < 5 THEN '1 to 5 miles' ELSE '5 miles and more' END AS visibility,
  count(*) AS flights,
  round(avg(f.dep_delay), 2) AS mean_departure_delay
FROM flights AS f
JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
WHERE f.dep_delay IS NOT NULL AND ($origin IS NULL OR f.origin = $origin)
GROUP BY visibility
ORDER BY mean_departure_delay DESC
