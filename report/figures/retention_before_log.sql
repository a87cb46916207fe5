-- Of those who had registered before the log begins, how many come each week?
select
    week_start_date,
    first_level,
    sum(cohort_users) as cohort_users,
    sum(active_users) as active_users,
    try_divide(sum(active_users), sum(cohort_users)) as retained_share
from {{ target.schema }}_published.weekly_retention
where is_from_before_log
group by week_start_date, first_level
order by week_start_date desc, first_level
limit 208
