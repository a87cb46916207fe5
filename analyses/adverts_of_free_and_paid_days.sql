-- How many adverts do users hear on free and on paid days?
select
    paid_events = events as is_paid_day,
    count(*) as user_days,
    sum(adverts) as adverts,
    round(try_divide(sum(adverts), count(*)), 2) as adverts_per_day
from {{ target.schema }}_published.fct_user_days
where paid_events in (0, events)
group by paid_events = events
order by is_paid_day
