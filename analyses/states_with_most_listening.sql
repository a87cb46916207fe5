-- In which ten states are most hours listened?
select
    state,
    sum(sessions) as sessions,
    round(sum(listening_milliseconds) / 3600000, 1) as listening_hours
from {{ target.schema }}_published.weekly_sessions_by_platform_and_state
group by state
order by listening_hours desc, state
limit 10
