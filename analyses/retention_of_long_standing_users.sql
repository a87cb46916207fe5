-- Of those who had registered before the log, how many come each week?
select
    week_start_date,
    first_level,
    sum(cohort_users) as cohort_users,
    sum(active_users) as active_users,
    round(try_divide(sum(active_users), sum(cohort_users)), 3) as retained_share
from {{ target.schema }}_published.weekly_retention
where is_from_before_log
group by week_start_date, first_level
order by week_start_date, first_level
