-- On which dates did users meet most error pages?
select
    kpi_date,
    errors,
    active_users,
    round(try_divide(errors, active_users), 3) as errors_per_user
from {{ target.schema }}_published.daily_kpis
order by errors desc, kpi_date
limit 10
