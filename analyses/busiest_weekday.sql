-- On which day of the week are most users active?
select
    date_format(kpi_date, 'EEEE') as day_of_week,
    round(avg(active_users), 1) as active_users_per_date,
    round(avg(songs), 1) as songs_per_date
from {{ target.schema }}_published.daily_kpis
where is_complete
group by date_format(kpi_date, 'EEEE'), weekday(kpi_date)
order by weekday(kpi_date)
